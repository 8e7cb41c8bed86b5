package kubernetes

import (
	"regexp"
	"strconv"

	api "k8s.io/apimachinery/pkg/api/resource" // a resource here is an object
)

// Amounts are kept as they are written where we take them so. amountForm bounds
// what is computed of the others.
var (
	plainAmount = regexp.MustCompile(`^(0|[1-9][0-9]{0,17})(\.[0-9]{1,9})?(m|[kMGTP]|[KMGTP]i)?$`)
	amountForm  = regexp.MustCompile(`^\+?[0-9]{0,18}(\.[0-9]{0,18})?([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?$`)
)

const (
	leastBytes = 1 << 20
	mostUnits  = 1 << 53 // more than any node has of anything
)

// quantity reads an amount; what is none stays for package manifest to refuse.
func (v value) quantity() (q api.Quantity, known bool) {
	text := v.text()
	if !amountForm.MatchString(text) {
		return q, false
	}
	q, err := api.ParseQuantity(text)
	return q, err == nil && q.CmpInt64(mostUnits) <= 0
}

// cores is an amount of CPU, which Kubernetes rounds up to thousandths of one.
func (v value) cores() string {
	q, known := v.quantity()
	if !known || q.CmpInt64(mostUnits/1000) > 0 || plainAmount.MatchString(v.text()) && q.Cmp(*api.NewMilliQuantity(q.MilliValue(), api.DecimalSI)) == 0 {
		return v.text()
	}
	return int64Text(q.MilliValue()) + "m"
}

// bytes is an amount of memory. There is none below 1Mi here.
func (v value) bytes() string {
	q, known := v.quantity()
	switch {
	case !known:
		return v.text()
	case q.Sign() > 0 && q.Value() < leastBytes:
		v.hint("is less than 1Mi, the least that there is: 1Mi is taken", "")
		return "1Mi"
	case plainAmount.MatchString(v.text()) && q.Cmp(*api.NewQuantity(q.Value(), api.BinarySI)) == 0:
		return v.text()
	}
	return strconv.FormatInt(q.Value(), 10)
}
