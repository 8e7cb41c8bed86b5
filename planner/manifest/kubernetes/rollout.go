package kubernetes

import "strconv"

func int64Text(n int64) string { return strconv.FormatInt(n, 10) }

// rollout reads how instances are replaced. Kubernetes' defaults, which are not
// ours, are written down.
func (w *workload) rollout(spec value) {
	copyScalars(&w.spec, spec, "minReadySeconds")
	spec.drop("revisionHistoryLimit")
	switch w.r.group {
	case deployment:
		copyScalars(&w.spec, spec, "progressDeadlineSeconds")
		w.deployed(spec)
	case statefulSet:
		w.stateful(spec)
	case daemonSet:
		w.onEveryNode(spec)
	}
	w.spec.Put("update", w.update, spec)
}

func (w *workload) deployed(spec value) {
	if paused := spec.at("paused"); paused.truth() {
		paused.lost("a rollout is not paused by a field here", "suspend: {until, reason} leaves the service as it is; update.steps has rollouts rest")
	}
	strategy := spec.at("strategy")
	strategy.at("type").is("RollingUpdate")
	if strategy.at("type").is("Recreate") {
		w.update.Put("order", "stopFirst", strategy)
		w.update.Put("maxUnavailable", "100%", strategy)
		return
	}
	surge, unavailable := strategy.at("rollingUpdate", "maxSurge"), strategy.at("rollingUpdate", "maxUnavailable")
	if w.single {
		w.stopFirst(unavailable)
		what := strategy
		if !what.given() {
			what = spec
			what.hint("instances that write a volume of their slot, or have their node's network, are replaced one after the other: the old one ends first", "")
		} else {
			what.lost("instances that write a volume of their slot, or have their node's network, are replaced one after the other: the old one ends first", "")
		}
		return
	}
	w.amount("maxSurge", surge, "25%")
	w.amount("maxUnavailable", unavailable, "25%")
	if isZero(w.update.Get("maxSurge")) && !isZero(w.update.Get("maxUnavailable")) {
		w.update = object{member("order", "stopFirst", strategy), member("maxUnavailable", w.update.Get("maxUnavailable"), unavailable)}
	}
}

// stopFirst has the old instance end before its successor starts.
func (w *workload) stopFirst(unavailable value) {
	w.update.Put("order", "stopFirst", unavailable)
	if w.amount("maxUnavailable", unavailable, ""); isZero(w.update.Get("maxUnavailable")) {
		w.update = object{member("order", "stopFirst", unavailable)}
	}
}

// amount puts a number or a percentage, with its default.
func (w *workload) amount(name string, v value, otherwise string) {
	switch n, isNumber := v.number(); {
	case isNumber:
		w.update.Put(name, n, v)
	case v.text() != "":
		w.update.Put(name, v.text(), v)
	case otherwise != "":
		w.update.Put(name, otherwise, v)
	}
}

func isZero(v any) bool { return v == nil || v == int64(0) || v == "0%" || v == "0" }

func (w *workload) stateful(spec value) {
	w.update.Put("order", "stopFirst", spec.at("updateStrategy"))
	strategy := spec.at("updateStrategy")
	if kind := strategy.at("type"); !kind.is("RollingUpdate") {
		kind.lost("a new revision is rolled out by itself", "suspend: {until, reason} leaves the service as it is, update.steps with approve asks first")
	}
	if n, ok := strategy.at("rollingUpdate", "partition").number(); ok && n != 0 {
		strategy.at("rollingUpdate", "partition").lost("is not in this version: all slots get the new revision", "update.steps has a rollout rest after some of them")
	}
	w.amount("maxUnavailable", strategy.at("rollingUpdate", "maxUnavailable"), "")
	if policy := spec.at("podManagementPolicy"); !policy.is("Parallel") && w.slots > 1 {
		policy.drop()
		reason, remedy := "slots start side by side, not in their order", "have the program wait for those that it needs"
		if policy.given() {
			policy.lost(reason, remedy)
		} else {
			spec.hint(reason, remedy)
		}
	} else if policy.given() {
		policy.n.tick()
	}
	retention := spec.at("persistentVolumeClaimRetentionPolicy")
	for _, f := range retention.fields() {
		if !f.is("Retain") {
			f.lost("a local volume survives the removal of its slot", "remove it by hand on its node")
		}
	}
	if name := spec.at("serviceName"); name.text() != "" && w.slots > 0 {
		name.hint("an instance is called 0."+w.name+" by others, not "+w.name+"-0."+name.text(), "change that where it is configured")
	}
}

func (w *workload) onEveryNode(spec value) {
	strategy := spec.at("updateStrategy")
	if kind := strategy.at("type"); !kind.is("RollingUpdate") {
		kind.lost("a new revision is rolled out by itself", "suspend: {until, reason} leaves the service as it is, update.steps with approve asks first")
	}
	surge, unavailable := strategy.at("rollingUpdate", "maxSurge"), strategy.at("rollingUpdate", "maxUnavailable")
	if n, isNumber := surge.number(); surge.text() != "" && (!isNumber || n > 0) && surge.text() != "0%" {
		if !w.single {
			w.amount("maxSurge", surge, "")
			w.amount("maxUnavailable", unavailable, "")
			return
		}
		surge.lost("instances that write a volume of their slot, or have their node's network, are replaced one after the other: the old one ends first", "")
	}
	w.stopFirst(unavailable)
}
