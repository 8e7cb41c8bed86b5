package plugin

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/plugin/pluginpb"
)

// classes are the errors that callers branch on. An error may be several; the
// first gives the call its status.
var classes = []struct {
	is    error
	class pluginpb.Failure_Class
	code  codes.Code
}{
	{context.Canceled, pluginpb.Failure_CLASS_CANCELED, codes.Canceled},
	{context.DeadlineExceeded, pluginpb.Failure_CLASS_DEADLINE, codes.DeadlineExceeded},
	{runtime.ErrUnavailable, pluginpb.Failure_CLASS_UNAVAILABLE, codes.Unavailable},
	{runtime.ErrNotFound, pluginpb.Failure_CLASS_NOT_FOUND, codes.NotFound},
	{runtime.ErrInvalid, pluginpb.Failure_CLASS_INVALID, codes.InvalidArgument},
	{runtime.ErrUnauthorized, pluginpb.Failure_CLASS_UNAUTHORIZED, codes.Unauthenticated},
	{errors.ErrUnsupported, pluginpb.Failure_CLASS_UNSUPPORTED, codes.Unimplemented},
	{runtime.ErrNotBegun, pluginpb.Failure_CLASS_NOT_BEGUN, codes.Aborted},
}

// toStatus is a driver's error as the plugin sends it; nil stays nil.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	code, failure := codes.Unknown, &pluginpb.Failure{}
	for _, c := range classes {
		if !errors.Is(err, c.is) {
			continue
		}
		if len(failure.Classes) == 0 {
			code = c.code
		}
		failure.Classes = append(failure.Classes, c.class)
	}
	s, detailErr := status.New(code, cut(err.Error(), maxErrorText)).WithDetails(failure)
	if detailErr != nil {
		return status.Error(code, cut(err.Error(), maxErrorText))
	}
	return s.Err()
}

// driverError is an error that a plugin's driver returned.
type driverError struct {
	text    string
	classes []error
}

func (e *driverError) Error() string   { return e.text }
func (e *driverError) Unwrap() []error { return e.classes }

// fromStatus is what the host makes of a call's error. What the driver itself
// returned is a *driverError; another status is of the transport, and so the
// outcome is unknown: runtime.ErrUnavailable, or the end of the context.
func fromStatus(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if !ok {
		return err // our own, of what was answered
	}
	for _, detail := range s.Details() {
		if failure, ok := detail.(*pluginpb.Failure); ok {
			return fromFailure(s.Message(), failure)
		}
	}
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	return &transportError{code: s.Code(), text: cut(s.Message(), maxErrorText)}
}

func fromFailure(text string, failure *pluginpb.Failure) error {
	e := &driverError{text: cut(text, maxErrorText)}
	for _, c := range classes {
		for _, class := range failure.GetClasses() {
			if class == c.class {
				e.classes = append(e.classes, c.is)
				break
			}
		}
	}
	return e
}

// transportError: no answer of the driver, or none that can be used.
type transportError struct {
	code codes.Code
	text string
}

func (e *transportError) Error() string {
	switch e.code {
	case codes.Unavailable, codes.Canceled:
		return "the plugin ended during the call: its outcome is unknown"
	case codes.ResourceExhausted:
		return "the plugin answered more than is accepted: " + e.text
	case codes.Unimplemented:
		return "the plugin does not know the call: it speaks an older protocol"
	}
	return "the plugin did not answer properly: " + e.text
}

func (e *transportError) Unwrap() []error {
	switch e.code {
	case codes.DeadlineExceeded:
		return []error{runtime.ErrUnavailable, context.DeadlineExceeded}
	case codes.Unimplemented:
		return []error{runtime.ErrUnavailable, errors.ErrUnsupported}
	}
	return []error{runtime.ErrUnavailable}
}

// cut is a text of at most so many bytes, valid and without control bytes
// other than line ends.
func cut(text string, most int) string {
	if len(text) > most {
		text = text[:most] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}
