package runtimetest

import (
	"errors"
	"strings"
	"sync"

	"github.com/orpheus-cd/orpheus/runtime"
)

var images = needs("Images", func(c runtime.Capabilities) bool { return c.Images })

var imageCases = []testCase{
	{name: "Image/Unsupported", needs: func(_ Harness, c runtime.Capabilities) string {
		if c.Images {
			return "the driver runs images"
		}
		return ""
	}, run: func(s *scene) {
		w := s.workload("sleep")
		w.Containers[0].Image = "localhost/some/image:1"
		if _, err := s.driver.Prepare(s.Context(), w, nil); !errors.Is(err, runtime.ErrInvalid) {
			s.Errorf("Prepare: %v; want ErrInvalid", err)
		}
		if err := s.driver.Start(s.Context(), w); !errors.Is(err, runtime.ErrInvalid) {
			s.Errorf("Start: %v; want ErrInvalid", err)
		}
	}},

	{name: "Image/PreparedBeforeThereIsAnInstance", run: func(s *scene) {
		w := s.workload("sleep")
		w.ID, w.Slot.Name, w.Containers[0].LogPath = "", "", ""
		s.prepare(w)
	}},

	{name: "Image/PreparedAtOnce", needs: images, run: func(s *scene) {
		w := s.workload("sleep")
		ref := w.Containers[0].Image
		const n = 8
		got := make([]map[string]string, n)
		errs := make([]error, n)
		var wg sync.WaitGroup
		for k := range n {
			wg.Go(func() { got[k], errs[k] = s.driver.Prepare(s.Context(), w, func(runtime.Progress) {}) })
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			s.Fatalf("Prepare: %v", err)
		}
		for _, digests := range got {
			if d := digests[ref]; !strings.HasPrefix(d, "sha256:") || d != got[0][ref] {
				s.Fatalf("digests differ or are none: %v", got)
			}
		}
		// By digest, which needs no registry.
		w.Containers[0].Digest = got[0][ref]
		s.begin(w)
		i := s.find(w.ID)
		if i == nil || len(i.Containers) != 1 || i.Containers[0].Image != ref || i.Containers[0].Digest != got[0][ref] {
			s.Errorf("listed as %+v; want image %s with digest %s", i, ref, got[0][ref])
		}
	}},

	{name: "Image/NotPrepared", needs: images, run: func(s *scene) {
		w := s.workload("sleep")
		w.Containers[0].Image = "localhost/never/prepared:1"
		if err := s.driver.Start(s.Context(), w); !errors.Is(err, runtime.ErrNotFound) {
			s.Errorf("Start: %v; want ErrNotFound", err)
		}
		if i := s.find(w.ID); i != nil {
			s.Errorf("listed after a failed start: %+v", *i)
		}
	}},

	{name: "Image/Missing", needs: all(images, func(h Harness, _ runtime.Capabilities) string {
		if h.MissingImage == "" {
			return "the harness names no missing image"
		}
		return ""
	}), run: func(s *scene) {
		w := s.workload("sleep")
		w.Containers[0].Image = s.h.MissingImage
		if _, err := s.driver.Prepare(s.Context(), w, nil); !errors.Is(err, runtime.ErrNotFound) || !strings.Contains(err.Error(), s.h.MissingImage) {
			s.Errorf("Prepare: %v; want ErrNotFound naming the image", err)
		}
	}},
}
