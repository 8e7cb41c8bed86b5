package planner

import "strconv"

// Asked is what an instance asks for in sum. As in Kubernetes the containers
// run at once and count together; each init container runs alone, before them.
func (t Template) Asked() ResourceList {
	var sum ResourceList
	for _, c := range t.Containers {
		sum = sum.plus(c.Resources.Asked())
	}
	for _, c := range t.InitContainers {
		asked := c.Resources.Asked()
		sum.CPUMillis = max(sum.CPUMillis, asked.CPUMillis)
		sum.MemoryBytes = max(sum.MemoryBytes, asked.MemoryBytes)
	}
	return sum
}

// Limits is what the containers of an instance may use in sum; of what one of
// them may use without a limit there is none.
func (t Template) Limits() ResourceList {
	both := func(a, b int64) int64 {
		if a == 0 || b == 0 {
			return 0
		}
		return saturate(a, b)
	}
	var sum ResourceList
	for k, c := range t.Containers {
		l := c.Resources.Limits
		if k > 0 {
			l = ResourceList{CPUMillis: both(sum.CPUMillis, l.CPUMillis), MemoryBytes: both(sum.MemoryBytes, l.MemoryBytes), PIDs: both(sum.PIDs, l.PIDs)}
		}
		sum = l
	}
	return sum
}

// plus adds what placement counts: CPU and memory. Sums saturate.
func (r ResourceList) plus(o ResourceList) ResourceList {
	return ResourceList{CPUMillis: saturate(r.CPUMillis, o.CPUMillis), MemoryBytes: saturate(r.MemoryBytes, o.MemoryBytes)}
}

func (r ResourceList) minus(o ResourceList) ResourceList {
	return ResourceList{CPUMillis: r.CPUMillis - o.CPUMillis, MemoryBytes: r.MemoryBytes - o.MemoryBytes}
}

func saturate(a, b int64) int64 {
	const most = 1<<62 - 1 // of which two make no overflow
	a, b = min(max(a, -most), most), min(max(b, 0), most)
	return min(a+b, most)
}

// lack says which resource does not suffice for what is asked beside what is
// used; "" = all do. Of the capacity, zero fields are unknown and bound nothing.
func lack(capacity, used, asked ResourceList) string {
	if !enough(capacity.MemoryBytes, used.MemoryBytes, asked.MemoryBytes) {
		return bytesText(max(0, capacity.MemoryBytes-used.MemoryBytes)) + " of memory free, " + bytesText(asked.MemoryBytes) + " asked"
	}
	if !enough(capacity.CPUMillis, used.CPUMillis, asked.CPUMillis) {
		return cpuText(max(0, capacity.CPUMillis-used.CPUMillis)) + " of CPU free, " + cpuText(asked.CPUMillis) + " asked"
	}
	return ""
}

// enough reports whether asked fits. What asks for nothing always does, also
// where a node was made smaller than what it runs.
func enough(capacity, used, asked int64) bool {
	return capacity == 0 || asked <= 0 || asked <= capacity-used
}

// bytesText is the form in which manifests give amounts of memory: in the
// largest unit of which there are at least ten or a whole number, rounded down.
func bytesText(n int64) string {
	units := []string{"", "Ki", "Mi", "Gi", "Ti"}
	for i := len(units) - 1; i > 0; i-- {
		size := int64(1) << (10 * i)
		if n >= 10*size || n >= size && n%size == 0 {
			return strconv.FormatInt(n/size, 10) + units[i]
		}
	}
	return strconv.FormatInt(n, 10)
}

func cpuText(millis int64) string {
	if millis%1000 == 0 {
		return strconv.FormatInt(millis/1000, 10)
	}
	return strconv.FormatInt(millis, 10) + "m"
}
