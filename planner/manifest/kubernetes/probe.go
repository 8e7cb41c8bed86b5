package kubernetes

// probe takes a probe over: fields and meaning are the same.
func (c *container) probe(name string) {
	v := c.v.at(name)
	if !v.given() {
		return
	}
	o := c.handler(v, false)
	for _, field := range []string{"initialDelaySeconds", "periodSeconds", "timeoutSeconds", "successThreshold", "failureThreshold", "terminationGracePeriodSeconds"} {
		if n, ok := v.at(field).number(); ok && n != 0 { // to Kubernetes 0 is not given
			copyScalars(&o, v, field)
		}
	}
	c.fields.Put(name, o, v)
}

// handler takes over what a probe or a hook does. In commands of hooks nothing
// is expanded.
func (c *container) handler(v value, hook bool) object {
	var o object
	if exec := v.at("exec"); exec.given() {
		var command object
		if hook {
			copyTexts(&command, exec, "command")
		} else if texts := c.expanded(exec.at("command")); len(texts) > 0 {
			command.Put("command", texts, exec.at("command"))
		}
		o.Put("exec", command, exec)
	}
	if get := v.at("httpGet"); get.given() {
		var request object
		copyText(&request, get, "path")
		copyScalars(&request, get, "port")
		copyText(&request, get, "host", "scheme")
		var headers list
		for _, h := range get.at("httpHeaders").items() {
			var header object
			copyText(&header, h, "name", "value")
			headers = append(headers, item(header, h))
		}
		if len(headers) > 0 {
			request.Put("httpHeaders", headers, get.at("httpHeaders"))
		}
		get.at("protocol").is("HTTP1")
		get.at("protocol").unlessRead("requests are those of HTTP/1.1", "", false)
		o.Put("httpGet", request, get)
	}
	if tcp := v.at("tcpSocket"); tcp.given() {
		var socket object
		copyScalars(&socket, tcp, "port")
		copyText(&socket, tcp, "host")
		o.Put("tcpSocket", socket, tcp)
	}
	if grpc := v.at("grpc"); grpc.given() {
		var ask object
		copyScalars(&ask, grpc, "port")
		copyText(&ask, grpc, "service")
		grpc.at("mode").unlessRead("is not in this version: each probe asks anew", "", true)
		o.Put("grpc", ask, grpc)
	}
	return o
}

// lifecycle takes over what is done before a container ends.
func (c *container) lifecycle() {
	v := c.v.at("lifecycle")
	copyText(&c.fields, v, "stopSignal")
	stop := v.at("preStop")
	if !stop.given() {
		return
	}
	if tcp := stop.at("tcpSocket"); tcp.given() {
		tcp.lost("does nothing in Kubernetes either", "")
		return
	}
	o := c.handler(stop, true)
	if sleep := stop.at("sleep"); sleep.given() {
		var seconds object
		copyScalars(&seconds, sleep, "seconds")
		o.Put("sleep", seconds, sleep)
	}
	c.fields.Put("lifecycle", object{member("preStop", o, stop)}, v)
}
