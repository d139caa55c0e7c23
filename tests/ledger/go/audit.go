// Audit checks a ledger's folder with golang.org/x/mod/sumdb alone.
//
// Usage: audit <folder> <vkey> [<older checkpoint>]
package main

import (
	"encoding/base64"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	height = 8
	width  = 1 << height
)

// A folder serves tiles. Go names them tile/8/L/N, C2SP tile/L/N.
type folder string

func (f folder) Height() int { return height }

func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range tiles {
		data, err := os.ReadFile(filepath.Join(string(f), c2sp(tile.Path())))
		if err != nil {
			return nil, err
		}
		if len(data) != tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%s has %d bytes", tile.Path(), len(data))
		}
		found = append(found, data)
	}
	return found, nil
}

func c2sp(path string) string {
	return "tile/" + strings.TrimPrefix(path, fmt.Sprintf("tile/%d/", height))
}

func main() {
	log.SetFlags(0)
	verifier, err := note.NewVerifier(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	dir := os.Args[1]
	tree, err := checkpoint(filepath.Join(dir, "checkpoint"), verifier)
	if err != nil {
		log.Fatal(err)
	}
	hashes := tlog.TileHashReader(tree, folder(dir))
	root, err := tlog.TreeHash(tree.N, hashes)
	if err != nil {
		log.Fatal(err)
	}
	if root != tree.Hash {
		log.Fatalf("the root is %v, the checkpoint has %v", root, tree.Hash)
	}
	if err := entries(dir, tree, hashes); err != nil {
		log.Fatal(err)
	}
	if len(os.Args) > 3 {
		if err := consistent(os.Args[3], verifier, tree, hashes); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Printf("%d records, root %v\n", tree.N, tree.Hash)
}

func checkpoint(path string, verifier note.Verifier) (tlog.Tree, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open(data, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return tlog.Tree{}, fmt.Errorf("not a checkpoint of %s", verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return tlog.Tree{}, fmt.Errorf("bad root hash %q", lines[2])
	}
	return tlog.Tree{N: size, Hash: tlog.Hash(*(*[tlog.HashSize]byte)(root))}, nil
}

// Entries compares every entry of every bundle with its authenticated leaf hash.
func entries(dir string, tree tlog.Tree, hashes tlog.HashReader) error {
	for first := int64(0); first < tree.N; first += width {
		count := min(width, tree.N-first)
		tile := tlog.Tile{H: height, L: -1, N: first / width, W: int(count)}
		path := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/data/", height), "tile/entries/", 1)
		bundle, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			return err
		}
		indexes := make([]int64, count)
		for at := range indexes {
			indexes[at] = tlog.StoredHashIndex(0, first+int64(at))
		}
		leaves, err := hashes.ReadHashes(indexes)
		if err != nil {
			return err
		}
		for at, leaf := range leaves {
			if len(bundle) < 2 {
				return fmt.Errorf("%s ends at entry %d", path, at)
			}
			length := int(bundle[0])<<8 | int(bundle[1])
			if len(bundle) < 2+length {
				return fmt.Errorf("%s ends within entry %d", path, at)
			}
			if tlog.RecordHash(bundle[2:2+length]) != leaf {
				return fmt.Errorf("record %d is not what the tree has", first+int64(at))
			}
			bundle = bundle[2+length:]
		}
		if len(bundle) != 0 {
			return fmt.Errorf("%s goes on after its entries", path)
		}
	}
	return nil
}

func consistent(path string, verifier note.Verifier, tree tlog.Tree, hashes tlog.HashReader) error {
	older, err := checkpoint(path, verifier)
	if err != nil {
		return err
	}
	proof, err := tlog.ProveTree(tree.N, older.N, hashes)
	if err != nil {
		return err
	}
	return tlog.CheckTree(proof, tree.N, tree.Hash, older.N, older.Hash)
}

func min(a, b int64) int64 {
	if a < b {
		return a
	}
	return b
}
