package kubernetes

import "slices"

// runtime reads what all containers of a pod share.
func (w *workload) runtime() {
	p := w.pod
	p.at("restartPolicy").is("Always")
	p.drop("enableServiceLinks", "preemptionPolicy")
	p.at("schedulerName").is("default-scheduler")
	p.at("dnsPolicy").is("ClusterFirst", "ClusterFirstWithHostNet")
	p.at("dnsPolicy").unlessRead("instances ask their node, which knows the services and asks the node's name servers", "", true)
	for _, name := range []string{"serviceAccountName", "serviceAccount"} {
		p.at(name).is("default")
	}
	for _, name := range []string{"automountServiceAccountToken", "hostPID", "hostIPC", "shareProcessNamespace", "setHostnameAsFQDN"} {
		p.at(name).is("false")
	}
	p.at("hostUsers").is("true")
	p.at("os", "name").is("linux")
	if p.at("hostNetwork").truth() {
		w.spec.Put("network", "host", p.at("hostNetwork"))
		w.single = true
	}
	copyScalars(&w.spec, p, "hostname", "terminationGracePeriodSeconds")
	w.hostAliases()
	p.at("resources").unlessRead("are said of each container", "share them out among the containers", false)
	var sysctls list
	for _, s := range p.at("securityContext", "sysctls").items() {
		var o object
		copyText(&o, s, "name", "value")
		sysctls = append(sysctls, item(o, s))
	}
	if len(sysctls) > 0 {
		w.spec.Put("sysctls", sysctls, p.at("securityContext", "sysctls"))
	}
}

// unlessRead notes what is there and was not read.
func (v value) unlessRead(reason, remedy string, warning bool) {
	if v.given() && !v.n.seen {
		v.tell(reason, remedy, warning)
	}
}

// hostAliases reads lines of /etc/hosts: each address once.
func (w *workload) hostAliases() {
	v := w.pod.at("hostAliases")
	var order []string
	byIP := map[string]list{}
	from := map[string]value{}
	for _, a := range v.items() {
		ip := a.at("ip").text()
		if !slices.Contains(order, ip) {
			order, from[ip] = append(order, ip), a
		}
		byIP[ip] = append(byIP[ip], textList(a.at("hostnames"))...)
	}
	var all list
	for _, ip := range order {
		all = append(all, item(object{member("ip", ip, from[ip]), member("hostnames", byIP[ip], from[ip])}, from[ip]))
	}
	switch {
	case len(all) == 0:
	case w.spec.Get("network") != nil:
		v.failed("a service with its node's network has the node's /etc/hosts", "write the lines there")
	default:
		w.spec.Put("hostAliases", all, v)
	}
}
