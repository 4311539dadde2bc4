// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"io"

	"github.com/nstrace/nstrace/probes"
	"github.com/nstrace/nstrace/record"
)

// checkSchema is the name of the schema of check's JSON. Fields are added
// freely, never renamed or changed in meaning.
const checkSchema = "nstrace.check/1"

// The schema's types; null is what isn't known or isn't there. See the types of
// package probes for what the fields mean.
type (
	jsonCheck struct {
		Schema string `json:"schema"`
		// Works says whether record would work here and now.
		Works  bool   `json:"works"`
		Kernel string `json:"kernel"`
		Arch   string `json:"arch"`
		// Lockdown is "none", "integrity" or "confidentiality".
		Lockdown *string `json:"lockdown"`
		// Types says whether there is usable BTF of the kernel.
		Types bool `json:"btf"`
		// Missing are capabilities.
		Missing       []jsonLack `json:"missing_capabilities"`
		UserNamespace bool       `json:"user_namespace"`
		// Kept are the capabilities that record doesn't give up once it has attached.
		Kept     []jsonKept         `json:"kept_capabilities"`
		Modules  []jsonModule       `json:"modules"`
		Probes   []jsonProbe        `json:"probes"`
		Problems []jsonCheckProblem `json:"problems"`
	}
	jsonLack struct {
		Capability string `json:"capability"`
		Required   bool   `json:"required"`
		Loses      string `json:"loses"`
	}
	jsonKept struct {
		Capability string `json:"capability"`
		// Spare: only without CAP_SYS_ADMIN. ForCommand: only with a COMMAND.
		Spare      bool   `json:"spare"`
		ForCommand bool   `json:"for_command"`
		Why        string `json:"why"`
	}
	jsonModule struct {
		Name string `json:"name"`
		// State is "loaded", "built in" or "not loaded".
		State *string `json:"state"`
		Types *bool   `json:"btf"`
	}
	// jsonProbe has names as in the report's recording.probes.
	jsonProbe struct {
		Name string `json:"name"`
		// Status is "available", "absent", or "unknown": it is going to be tried.
		Status string `json:"status"`
		// Hook is "fentry" or "kprobe".
		Hook     *string `json:"hook"`
		Function *string `json:"function"`
		Module   *string `json:"module"`
		Reason   *string `json:"reason"`
		Loses    string  `json:"loses"`
	}
	jsonCheckProblem struct {
		Fatal  bool   `json:"fatal"`
		What   string `json:"what"`
		Remedy string `json:"remedy"`
	}
)

func writeCheckJSON(out io.Writer, o *probes.Outlook) error {
	c := jsonCheck{
		Schema: checkSchema, Works: o.Works(), Kernel: o.Release, Arch: o.Arch, Lockdown: orNull(o.Lockdown),
		Types: o.Types, UserNamespace: o.UserNamespace,
		Missing: []jsonLack{}, Modules: []jsonModule{}, Problems: []jsonCheckProblem{},
	}
	for _, l := range o.Lacks {
		c.Missing = append(c.Missing, jsonLack(l))
	}
	for _, k := range record.KeptCapabilities() {
		c.Kept = append(c.Kept, jsonKept{k.Capability, k.Spare, k.ForCommand, k.Why})
	}
	for _, m := range o.Modules {
		c.Modules = append(c.Modules, jsonModule{m.Name, orNull(m.State), m.Types})
	}
	for _, p := range o.Probes {
		c.Probes = append(c.Probes, jsonProbe{
			p.Name, p.Status, orNull(p.Hook), orNull(p.Function), orNull(p.Module), orNull(p.Reason), p.Loses,
		})
	}
	for _, p := range o.Problems {
		c.Problems = append(c.Problems, jsonCheckProblem(p))
	}
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(c)
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
