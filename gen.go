// SPDX-License-Identifier: Apache-2.0

// Package nstrace holds nothing but the directive that compiles the eBPF
// programs in bpf/ into objects and Go declarations in probes/ and snapshot/. They are
// committed, so that building needs no clang; `make generate` makes them anew.
package nstrace

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -go-package probes -output-dir probes -type nst_event -type nst_steps -type nst_step -type nst_packet -type nst_device_name -type nst_task -type nst_task_op -type nst_flow -type nst_count -type nst_cpu -type nst_base -type nst_probe_stats -type nst_return -type call_key -type call -type steps -type nst_kind -type nst_recording -type nst_phase -type nst_flag -type nst_stage -type nst_path -type nst_ring -type nst_drop bpf bpf/nstrace.bpf.c -- -mcpu=v3 -Wall -Werror -Wno-missing-declarations -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -go-package snapshot -output-dir snapshot -type survey_kind survey bpf/survey.bpf.c -- -mcpu=v3 -Wall -Werror -Wno-missing-declarations -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu
