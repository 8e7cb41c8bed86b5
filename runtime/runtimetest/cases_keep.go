package runtimetest

import (
	"errors"
	"slices"

	"github.com/orpheus-cd/orpheus/runtime"
)

// keepCases are about drivers that keep images and say where.
var keepCases = []testCase{
	{name: "Keep/ImagesInUse", needs: images, run: func(s *scene) {
		keeper, ok := s.driver.(runtime.ImageKeeper)
		if !ok {
			s.Skip("not run: the driver keeps no images that the agent could remove")
		}
		w := s.begin(s.workload("sleep"))
		digest := s.find(w.ID).Containers[0].Digest
		used := func(when string) {
			all, err := keeper.Images(s.Context())
			k := slices.IndexFunc(all, func(i runtime.Image) bool { return i.Digest == digest })
			if err != nil || k < 0 || !all[k].InUse {
				s.Fatalf("%s: Images: %+v, %v; want %s in use", when, all, err, digest)
			}
			if err := keeper.RemoveImage(s.Context(), all[k].Name); !errors.Is(err, runtime.ErrInUse) {
				s.Errorf("%s: RemoveImage: %v; want ErrInUse", when, err)
			}
		}
		used("running")
		s.stop(w.ID, 0)
		used("stopped")
		if bytes, err := keeper.ImageBytes(s.Context()); err != nil || bytes <= 0 {
			s.Errorf("ImageBytes: %d, %v", bytes, err)
		}
		if err := keeper.RemoveImage(s.Context(), "registry.example.com/nothing@"+digest); err != nil {
			s.Errorf("RemoveImage of one that is not there: %v", err)
		}
	}},

	{name: "Keep/Stores", run: func(s *scene) {
		storer, ok := s.driver.(runtime.Storer)
		if !ok {
			s.Skip("not run: the driver keeps nothing outside the agent's folders")
		}
		folders, err := storer.Stores(s.Context())
		if errors.Is(err, errors.ErrUnsupported) {
			s.Skip("not run: the plugin's driver does not say where it keeps its data")
		}
		if err != nil || len(folders) == 0 || slices.ContainsFunc(folders, func(f string) bool { return f == "" || f[0] != '/' }) {
			s.Errorf("Stores: %q, %v; want absolute paths", folders, err)
		}
	}},
}
