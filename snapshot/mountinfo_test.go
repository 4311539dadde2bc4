// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"reflect"
	"testing"
)

func TestParseMountinfo(t *testing.T) {
	const line = " 0:4 net:[4026532281] /run/netns/blue rw shared:1 - nsfs nsfs rw\n"
	for _, test := range []struct {
		name, text string
		want       []nsMount
	}{
		{"empty", "", nil},
		{"one", "36 35" + line, []nsMount{{36, 4026532281, "/run/netns/blue"}}},
		{"no newline at the end", "36 35 0:4 net:[5] /run/netns/x rw - nsfs nsfs rw", []nsMount{{36, 5, "/run/netns/x"}}},
		{"twice, as ip netns add may leave it", "40 35" + line + "36 35" + line, []nsMount{
			{40, 4026532281, "/run/netns/blue"},
			{36, 4026532281, "/run/netns/blue"},
		}},
		{
			"several optional fields", "36 35 0:4 net:[7] /run/netns/x rw shared:1 master:2 propagate_from:3 - nsfs nsfs rw\n",
			[]nsMount{{36, 7, "/run/netns/x"}},
		},
		{
			"escapes", `36 35 0:4 net:[7] /run/netns/a\040b\011\012\134\043\033[31m" rw - nsfs nsfs rw` + "\n",
			[]nsMount{{36, 7, "/run/netns/a b\t\n\\#\x1b[31m\""}},
		},
		{
			"broken escapes stay", `36 35 0:4 net:[7] /run/netns/a\04\999\4 rw - nsfs nsfs rw` + "\n",
			[]nsMount{{36, 7, `/run/netns/a\04\999\4`}},
		},
		{"a mount namespace", "36 35 0:4 mnt:[4026532281] /run/mnt rw - nsfs nsfs rw\n", nil},
		{"another file system", "36 35 0:4 net:[4026532281] /run/netns/blue rw - tmpfs - nsfs rw\n", nil},
		{"a field that looks like it", "36 35 0:4 / /x rw - tmpfs x\\040-\\040nsfs\\040 rw\n", nil},
		{"too short", "36 35 0:4 net:[1] - nsfs \n", nil},
		{"no separator", "36 35 0:4 net:[1] /x rw a b c d e nsfs\n", nil},
		{"inum too large", "36 35 0:4 net:[99999999999] /x rw - nsfs nsfs rw\n", nil},
		{"inum 0", "36 35 0:4 net:[0] /x rw - nsfs nsfs rw\n", nil},
		{"no mount id", "x 35" + line, nil},
		{"sorted by path", "1 1 0:4 net:[2] /run/netns/b rw - nsfs nsfs rw\n2 1 0:4 net:[1] /run/netns/a rw - nsfs nsfs rw\n", []nsMount{
			{2, 1, "/run/netns/a"},
			{1, 2, "/run/netns/b"},
		}},
	} {
		if got := parseMountinfo([]byte(test.text)); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %#v, want %#v", test.name, got, test.want)
		}
	}
}

func TestMountName(t *testing.T) {
	for path, want := range map[string]string{
		"/run/netns/blue":           "blue",
		"/var/run/netns/blue":       "blue",
		"/run/netns/a\nb":           "a\nb",
		"/run/docker/netns/default": "/run/docker/netns/default",
		"/run/netns/sub/blue":       "/run/netns/sub/blue",
		"/run/netns":                "/run/netns",
	} {
		if got := (nsMount{path: path}).name(); got != want {
			t.Errorf("name of %q is %q, want %q", path, got, want)
		}
	}
}

func FuzzParseMountinfo(f *testing.F) {
	f.Add([]byte("36 35 0:4 net:[4026532281] /run/netns/a\\040b rw shared:1 - nsfs nsfs rw\n"))
	f.Add([]byte(" - nsfs \n - nsfs - nsfs\n\\"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, m := range parseMountinfo(text) {
			if m.inum == 0 {
				t.Errorf("inum 0 from %q", text)
			}
		}
	})
}

// FuzzUnescapeMount checks that what the kernel's mangle_path wrote comes back.
func FuzzUnescapeMount(f *testing.F) {
	f.Add("a b\t\n\\#\x1b")
	f.Fuzz(func(t *testing.T, path string) {
		const octal = "01234567"
		var mangled []byte
		for i := range len(path) {
			c := path[i]
			switch c {
			case ' ', '\t', '\n', '\\', '#':
				mangled = append(mangled, '\\', octal[c>>6], octal[c>>3&7], octal[c&7])
			default:
				mangled = append(mangled, c)
			}
		}
		if got := unescapeMount(string(mangled)); got != path {
			t.Errorf("%q comes back as %q", path, got)
		}
	})
}

func BenchmarkParseMountinfo(b *testing.B) {
	var text []byte
	for range 1000 {
		text = append(text, "36 35 0:4 net:[4026532281] /run/netns/some-name rw shared:1 - nsfs nsfs rw\n"...)
	}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		parseMountinfo(text)
	}
}
