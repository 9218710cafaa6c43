package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOccupy(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "up")
	release, err := occupy(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "etcd/member"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := occupy(dir); err == nil {
		t.Error("two got the same folder")
	}
	release()
	release, err = occupy(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if _, err := os.Stat(filepath.Join(dir, "etcd")); !os.IsNotExist(err) {
		t.Errorf("etcd is still there: %v", err)
	}
}

func TestOccupyForeignFolder(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "thesis.txt")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := occupy(dir); err == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}
