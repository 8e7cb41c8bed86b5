package docs

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// TestLinks follows every relative link of every page to a file that is there,
// and to a heading in it.
func TestLinks(t *testing.T) {
	pages := markdown(t)
	for page, text := range pages {
		for _, target := range links(text) {
			file, anchor, _ := strings.Cut(target, "#")
			at := page
			if file != "" {
				at = path.Join(path.Dir(page), file)
			}
			if _, err := os.Stat(filepath.Join("..", filepath.FromSlash(at))); err != nil || strings.HasPrefix(at, "../") {
				t.Errorf("%s links to %s, which is not there", page, target)
				continue
			}
			other, isPage := pages[at]
			if anchor != "" && isPage && !anchors(other)[anchor] {
				t.Errorf("%s links to %s, and %s has no such heading", page, target, at)
			}
		}
	}
}

// TestEveryPageIsLinked: a page that nothing leads to is one that nobody reads.
func TestEveryPageIsLinked(t *testing.T) {
	pages := markdown(t)
	reached := map[string]bool{"README.md": true}
	for next := []string{"README.md"}; len(next) > 0; next = next[1:] {
		for _, target := range links(pages[next[0]]) {
			file, _, _ := strings.Cut(target, "#")
			at := path.Join(path.Dir(next[0]), file)
			if _, is := pages[at]; is && !reached[at] {
				reached[at] = true
				next = append(next, at)
			}
		}
	}
	for page := range pages {
		if strings.HasPrefix(page, "docs/") && !reached[page] {
			t.Errorf("no link leads from README.md to %s", page)
		}
	}
}

// markdown reads all pages of the repository, by their paths with slashes.
func markdown(t *testing.T) map[string]string {
	t.Helper()
	pages := map[string]string{}
	err := filepath.WalkDir("..", func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && file != ".." && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata" || entry.Name() == "build"):
			return filepath.SkipDir
		case entry.IsDir() || filepath.Ext(file) != ".md":
			return nil
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		at, err := filepath.Rel("..", file)
		pages[filepath.ToSlash(at)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return pages
}

var (
	fenced  = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	inCode  = regexp.MustCompile("`[^`\n]*`")
	linked  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	scheme  = regexp.MustCompile(`^[a-z]+:`)
	heading = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *$`)
	withURL = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// links lists where a page leads, but for other sites.
func links(text string) []string {
	var all []string
	for _, found := range linked.FindAllStringSubmatch(inCode.ReplaceAllString(fenced.ReplaceAllString(text, ""), ""), -1) {
		if !scheme.MatchString(found[1]) {
			all = append(all, found[1])
		}
	}
	return all
}

// anchors are the names that forges give the headings of a page: letters, digits,
// hyphens and underscores, small, with hyphens for spaces.
func anchors(text string) map[string]bool {
	all := map[string]bool{}
	for _, found := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_':
				return unicode.ToLower(r)
			case r == ' ':
				return '-'
			}
			return -1
		}, withURL.ReplaceAllString(found[1], "$1"))
		all[name] = true
	}
	return all
}
