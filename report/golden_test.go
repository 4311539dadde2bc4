// SPDX-License-Identifier: Apache-2.0

package report_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/nstrace/nstrace/analyze"
	"github.com/nstrace/nstrace/analyze/story"
	"github.com/nstrace/nstrace/report"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// demo is the model of the demo's story.
func demo() *analyze.Model {
	a := analyze.New()
	story.Demo(a)
	return a.Model()
}

// inside is the model of the story of who was in a namespace.
func inside() *analyze.Model {
	a := analyze.New()
	story.Tenants(a)
	return a.Model()
}

// traffic is the model of the story of packets that come all the time.
func traffic() *analyze.Model {
	a := analyze.New()
	story.Traffic(a)
	return a.Model()
}

func TestGolden(t *testing.T) {
	m := demo()
	of := func(selector string) report.Options {
		n, err := report.Select(m, selector)
		if err != nil {
			t.Fatal(err)
		}
		return report.Options{Netns: n}
	}
	tenants := inside()
	web, err := report.Select(tenants, "cookie:0x5001")
	if err != nil {
		t.Fatal(err)
	}
	since, err := report.ParseTime(m, "0.05s")
	if err != nil {
		t.Fatal(err)
	}
	busy := traffic()
	ap, err := report.Select(busy, "ap")
	if err != nil {
		t.Fatal(err)
	}
	during := func(o report.Options, since, until uint64) report.Options {
		o.Since, o.Until = busy.Began+since*story.MS, busy.Began+until*story.MS
		return o
	}
	tests := []struct {
		file   string
		m      *analyze.Model
		format report.Format
		o      report.Options
	}{
		{"demo.txt", m, report.FormatText, report.Options{}},
		{"demo.json", m, report.FormatJSON, report.Options{}},
		{"demo-ns-sta.txt", m, report.FormatText, of("sta")},
		{"demo-ns-phy2.json", m, report.FormatJSON, of("phy2")},
		{"demo-since.txt", m, report.FormatText, report.Options{Since: since}},
		{"tenants.txt", tenants, report.FormatText, report.Options{}},
		{"tenants-ns.txt", tenants, report.FormatText, report.Options{Netns: web}},
		{"tenants-ns.json", tenants, report.FormatJSON, report.Options{Netns: web}},
		{"traffic.txt", busy, report.FormatText, report.Options{}},
		{"traffic-during.txt", busy, report.FormatText, during(report.Options{}, 2950, 6420)},
		{"traffic-ns-ap.txt", busy, report.FormatText, report.Options{Netns: ap}},
		{"traffic-ns-ap-during.json", busy, report.FormatJSON, during(report.Options{Netns: ap}, 3250, 3550)},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			var got bytes.Buffer
			if err := report.Write(&got, tt.m, tt.format, tt.o); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", tt.file)
			if *update {
				if err := os.MkdirAll("testdata", 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%s differs (go test ./report -update rewrites it):\n%s", path, got.Bytes())
			}
			if tt.format == report.FormatJSON && !json.Valid(got.Bytes()) {
				t.Error("not JSON")
			}
		})
	}
}

// The same recording gives the same report.
func TestDeterministic(t *testing.T) {
	var first bytes.Buffer
	for i := range 20 {
		var b bytes.Buffer
		m := demo()
		if err := report.Text(&b, m, report.Options{}); err != nil {
			t.Fatal(err)
		}
		if err := report.JSON(&b, m, report.Options{}); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = b
		} else if !bytes.Equal(b.Bytes(), first.Bytes()) {
			t.Fatal("two reports of the same recording differ")
		}
	}
}
