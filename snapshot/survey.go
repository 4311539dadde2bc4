// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// row is one thing that holds a namespace, or (SURVEY_NET) a namespace that the
// kernel lists.
type row = surveySurveyRow

// survey reads what holds namespaces from the kernel's own lists: see
// bpf/survey.bpf.c. Reading the same through /proc takes a system call per open
// file, and for a socket a copy of it (pidfd_getfd), which puts off its end if
// its owner closes it just then.
type survey struct {
	mu      sync.Mutex
	closed  bool
	objects surveyObjects
}

// newSurvey loads the programs. It needs CAP_BPF and CAP_PERFMON. types has the
// kernel's types, nil to read them.
func newSurvey(types *btf.Cache) (*survey, error) {
	// Kernels before 5.11 charge maps and programs to RLIMIT_MEMLOCK. If this is
	// refused there may be enough left.
	_ = rlimit.RemoveMemlock()
	s := &survey{}
	if err := loadSurveyObjects(&s.objects, &ebpf.CollectionOptions{Cache: types}); err != nil {
		var verifier *ebpf.VerifierError
		if errors.As(err, &verifier) {
			err = verifier
		}
		return nil, fmt.Errorf("load the programs that list holders: %w", err)
	}
	return s, nil
}

func (s *survey) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	_ = s.objects.Close()
}

// tasks calls each for every process, and for every thread that is in other
// namespaces than its process.
func (s *survey) tasks(each func(*row)) error {
	if err := s.iterate(s.objects.SurveyTasks, each); err != nil {
		return fmt.Errorf("list the tasks: %w", err)
	}
	return nil
}

// files calls each for every open file that holds another namespace than the
// one its task is in, and every open file of nsfs.
func (s *survey) files(each func(*row)) error {
	if err := s.iterate(s.objects.SurveyFiles, each); err != nil {
		return fmt.Errorf("list the open files: %w", err)
	}
	return nil
}

// rowSize is the size of a record: there is no padding Go doesn't know of.
var rowSize = binary.Size(row{})

// iterate runs an iterator program and decodes what it wrote.
func (s *survey) iterate(program *ebpf.Program, each func(*row)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return os.ErrClosed
	}
	iterator, err := link.AttachIter(link.IterOptions{Program: program})
	if err != nil {
		return err
	}
	defer iterator.Close()
	from, err := iterator.Open()
	if err != nil {
		return err
	}
	defer from.Close()
	return readRows(from, each)
}

// readRows decodes records until the end.
func readRows(from io.Reader, each func(*row)) error {
	buf := make([]byte, 0, 64<<10)
	for {
		n, err := from.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		whole := len(buf) / rowSize * rowSize
		for at := 0; at < whole; at += rowSize {
			var r row
			if _, err := binary.Decode(buf[at:], binary.NativeEndian, &r); err != nil {
				return err
			}
			each(&r)
		}
		buf = buf[:copy(buf, buf[whole:])]
		switch {
		case errors.Is(err, unix.EAGAIN):
			// A million objects without a record: the kernel wants to be asked
			// again (MAX_ITER_OBJECTS in kernel/bpf/bpf_iter.c).
		case err == io.EOF && len(buf) == 0:
			return nil
		case err == io.EOF:
			return io.ErrUnexpectedEOF
		case err != nil:
			return errnoOf(err)
		}
	}
}

// errListMoved says that the kernel's list changed under every attempt to go
// through it in parts.
var errListMoved = errors.New("the list changed during every attempt to read it")

// listAttempts bounds how often the list is begun anew.
const listAttempts = 8

// nets returns every namespace in the kernel's own list: all that are set up and
// not yet being cleaned up, whatever holds them.
func (s *survey) nets() ([]row, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("list the namespaces: %w", os.ErrClosed)
	}
	for range listAttempts {
		rows, whole, err := s.netsOnce()
		if err != nil || whole {
			return rows, err
		}
	}
	return nil, fmt.Errorf("list the namespaces: %w", errListMoved)
}

// netsOnce goes through the list once. whole is false if the place where it was
// went away.
func (s *survey) netsOnce() (rows []row, whole bool, err error) {
	o := &s.objects
	if err := o.Cursor.Set(uint64(0)); err != nil {
		return nil, false, fmt.Errorf("list the namespaces: %w", err)
	}
	for {
		if _, err := o.SurveyNets.Run(&ebpf.RunOptions{}); err != nil {
			return nil, false, fmt.Errorf("list the namespaces: %w", err)
		}
		var count, finished, broken uint32
		var page [surveyPage]row
		err := errors.Join(o.PageRows.Get(&count), o.Finished.Get(&finished), o.Broken.Get(&broken), o.Page.Get(&page))
		if err != nil {
			return nil, false, fmt.Errorf("list the namespaces: %w", err)
		}
		if broken != 0 || int(count) > len(page) {
			return nil, false, nil
		}
		rows = append(rows, page[:count]...)
		if finished != 0 {
			return rows, true, nil
		}
	}
}

// surveyPage is how many namespaces are listed in one part (SURVEY_PAGE).
const surveyPage = 128

// comm returns the task's name.
func comm(r *row) string {
	name := make([]byte, len(r.Comm))
	for i, c := range r.Comm {
		name[i] = byte(c)
	}
	if end := bytes.IndexByte(name, 0); end >= 0 {
		name = name[:end]
	}
	return string(name)
}
