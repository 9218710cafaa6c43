package fleet

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// verify reports impossible values in state files. Commands refuse such files.
func verify(st *state.State, stateDir string, files fs.FS) finding.List {
	var l finding.List
	const fix = "restore the file from git"
	for name, img := range st.Images {
		l = append(l, faultsOf(finding.DataShape, files, stateDir, state.ImagesFolder, name, img.Faults(), fix)...)
	}
	for name, b := range st.Bases {
		l = append(l, faultsOf(finding.DataShape, files, stateDir, state.BasesFolder, name, b.Faults(), fix)...)
	}
	for folder, scans := range map[string]map[string]*state.Scans{state.ImageScansFolder: st.ImageScans, state.BaseScansFolder: st.BaseScans} {
		for name, s := range scans {
			l = append(l, faultsOf(finding.DataShape, files, stateDir, folder, name, s.Faults(), fix)...)
		}
	}
	l.Sort()
	return l
}

// ahead warns about times that only a wrong clock can have written.
func ahead(st *state.State, stateDir string, files fs.FS, now time.Time) finding.List {
	var l finding.List
	report := func(folder, name string, at state.Time, isAhead bool, fix string) {
		if isAhead {
			text := at.Format(time.RFC3339)
			found := []state.Fault{{Value: text, Message: fmt.Sprintf("%s is in the future: the clock that wrote it was wrong", text)}}
			l = append(l, faultsOf(finding.Ahead, files, stateDir, folder, name, found, fix)...)
		}
	}
	for name, img := range st.Images {
		at, isAhead := img.FirstAhead(now)
		report(state.ImagesFolder, name, at, isAhead, "nothing waits for it; check the clocks of the machines that run imagefactory")
	}
	for name, b := range st.Bases {
		at, isAhead := b.FirstAhead(now)
		report(state.BasesFolder, name, at, isAhead, "the next `imagefactory analyze` replaces it with its own time, from which the digest ripens; check the clocks of the machines that run imagefactory")
	}
	l.Sort()
	return l
}

func stateFile(stateDir, folder, name string) string {
	return display(stateDir, path.Join(folder, name+".yaml"))
}

// faultsOf returns a finding for each fault of a state file, at the first occurrence of its value in the file.
func faultsOf(rule finding.Rule, files fs.FS, stateDir, folder, name string, found []state.Fault, fix string) finding.List {
	var l finding.List
	p := path.Join(folder, name+".yaml")
	for _, f := range found {
		line, column := 0, 0
		if text, err := fs.ReadFile(files, p); err == nil { // without the text only the position is missing
			if at := bytes.Index(text, []byte(f.Value)); at >= 0 && f.Value != "" {
				line, column = 1+bytes.Count(text[:at], []byte("\n")), at-bytes.LastIndexByte(text[:at], '\n')
			}
		}
		l = append(l, rule.At(display(stateDir, p), line, column, f.Message, fix))
	}
	return l
}
