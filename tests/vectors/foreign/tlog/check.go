package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Chain is what `verify` reads: the parts of our vectors that are claims about a log.
type Chain struct {
	Verifier    string   `json:"verifier"`
	Log         string   `json:"log"`
	Leaves      []string `json:"leaves"`
	Checkpoints []string `json:"checkpoints"`
	Inclusion   []Proof  `json:"inclusion"`
	Consistency []Proof  `json:"consistency"`
}

func verify(path string) {
	data, err := os.ReadFile(path)
	must(err)
	var chain Chain
	must(json.Unmarshal(data, &chain))
	tree := &memory{}
	for _, leaf := range chain.Leaves {
		data, err := hex.DecodeString(leaf)
		must(err)
		tree.add(data)
	}
	verifier, err := note.NewVerifier(chain.Verifier)
	must(err)
	for _, text := range chain.Checkpoints {
		checkCheckpoint(text, note.VerifierList(verifier), chain.Log, tree)
	}
	for _, proof := range chain.Inclusion {
		leaf, err := hex.DecodeString(chain.Leaves[proof.Number])
		must(err)
		root := tree.root(proof.Size)
		must(tlog.CheckRecord(proof.hashes(), proof.Size, tlog.Hash(root), proof.Number, tlog.RecordHash(leaf)))
	}
	for _, proof := range chain.Consistency {
		older, newer := tlog.Hash(tree.root(proof.Number)), tlog.Hash(tree.root(proof.Size))
		must(tlog.CheckTree(proof.hashes(), proof.Size, newer, proof.Number, older))
	}
	fmt.Printf("%d leaves, %d checkpoints, %d inclusion proofs, %d consistency proofs: all hold\n",
		len(chain.Leaves), len(chain.Checkpoints), len(chain.Inclusion), len(chain.Consistency))
}

func checkCheckpoint(text string, verifiers note.Verifiers, origin string, tree *memory) {
	opened, err := note.Open([]byte(text), verifiers)
	must(err)
	named, claim := checkpoint(opened.Text)
	if root := tree.root(claim.N); named != origin || hash(claim.Hash) != root {
		log.Fatalf("not a checkpoint of %s with root %s:\n%s", origin, root.base64(), text)
	}
}

func (p Proof) hashes() []tlog.Hash {
	var hashes []tlog.Hash
	for _, text := range p.Hashes {
		data, err := hex.DecodeString(text)
		must(err)
		hashes = append(hashes, tlog.Hash(data))
	}
	return hashes
}

// checkpoint reads the text of a checkpoint: its origin, and the tree that it claims.
func checkpoint(text string) (string, tlog.Tree) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		log.Fatalf("not a checkpoint:\n%s", text)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	must(err)
	root, err := tlog.ParseHash(lines[2])
	must(err)
	return lines[0], tlog.Tree{N: size, Hash: root}
}

// proofs reads a line for each leaf, its data in hex; an empty line; and a line for each proof: `i` (inclusion) or `c`
// (consistency), the size of the tree, the number of the leaf or the size of the older tree, and the hashes in base64,
// joined.
func proofs(input io.Reader) {
	lines := bufio.NewScanner(input)
	tree := &memory{}
	var leaves []tlog.Hash
	for lines.Scan() && lines.Text() != "" {
		leaf, err := hex.DecodeString(lines.Text())
		must(err)
		tree.add(leaf)
		leaves = append(leaves, tlog.RecordHash(leaf))
	}
	roots := []tlog.Hash{{}}
	for size := range leaves {
		roots = append(roots, tlog.Hash(tree.root(int64(size)+1)))
	}
	counts := map[string]int{}
	for lines.Scan() {
		var size, number int64
		kind, rest, _ := strings.Cut(lines.Text(), " ")
		words := strings.Split(rest, " ")
		size, err := strconv.ParseInt(words[0], 10, 64)
		must(err)
		number, err = strconv.ParseInt(words[1], 10, 64)
		must(err)
		joined, err := base64.StdEncoding.DecodeString(words[2])
		must(err)
		var hashes []tlog.Hash
		for ; len(joined) > 0; joined = joined[tlog.HashSize:] {
			hashes = append(hashes, tlog.Hash(joined[:tlog.HashSize]))
		}
		if kind == "i" {
			err = tlog.CheckRecord(hashes, size, roots[size], number, leaves[number])
		} else {
			err = tlog.CheckTree(hashes, size, roots[size], number, roots[number])
		}
		if err != nil {
			log.Fatalf("%s: %v", lines.Text(), err)
		}
		counts[kind]++
	}
	must(lines.Err())
	fmt.Printf("%d leaves, %d inclusion proofs, %d consistency proofs: all hold\n", len(leaves), counts["i"], counts["c"])
}

// openNote opens a note with each key alone, and prints its text.
func openNote(input io.Reader, keys []string) {
	text, err := io.ReadAll(input)
	must(err)
	var opened *note.Note
	for _, key := range keys {
		verifier, err := note.NewVerifier(key)
		must(err)
		opened, err = note.Open(text, note.VerifierList(verifier))
		must(err)
	}
	fmt.Print(opened.Text)
}

// tlogProof checks a C2SP tlog-proof of the leaf with this CID, in hex.
func tlogProof(input io.Reader, key, cid string) {
	text, err := io.ReadAll(input)
	must(err)
	leaf, err := hex.DecodeString(cid)
	must(err)
	proof, signed, found := strings.Cut(string(text), "\n\n")
	lines := strings.Split(proof, "\n")
	if !found || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" {
		log.Fatal("not a tlog-proof")
	}
	number, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
	must(err)
	var hashes []tlog.Hash
	for _, line := range lines[2:] {
		hash, err := tlog.ParseHash(line)
		must(err)
		hashes = append(hashes, hash)
	}
	verifier, err := note.NewVerifier(key)
	must(err)
	opened, err := note.Open([]byte(signed), note.VerifierList(verifier))
	must(err)
	origin, tree := checkpoint(opened.Text)
	must(tlog.CheckRecord(hashes, tree.N, tree.Hash, number, tlog.RecordHash(leaf)))
	fmt.Printf("%s: leaf %d of %d\n", origin, number, tree.N)
}

// tiles checks every leaf, and the consistency with every shorter tree, from the files of a C2SP tlog-tiles directory.
func tiles(key, directory string) {
	text, err := os.ReadFile(filepath.Join(directory, "checkpoint"))
	must(err)
	verifier, err := note.NewVerifier(key)
	must(err)
	opened, err := note.Open(text, note.VerifierList(verifier))
	must(err)
	origin, tree := checkpoint(opened.Text)
	reader := tlog.TileHashReader(tree, files(directory))
	for number := range tree.N {
		proof, err := tlog.ProveRecord(tree.N, number, reader)
		must(err)
		must(tlog.CheckRecord(proof, tree.N, tree.Hash, number, tlog.RecordHash(entry(directory, number, tree.N))))
		root, err := tlog.TreeHash(number+1, reader)
		must(err)
		older, err := tlog.ProveTree(tree.N, number+1, reader)
		must(err)
		must(tlog.CheckTree(older, tree.N, tree.Hash, number+1, root))
	}
	fmt.Printf("%s: %d leaves, all in the signed tree\n", origin, tree.N)
}

const tileHeight = 8

// files reads tiles below a directory; a partial tile is used as it is there.
type files string

func (f files) Height() int { return tileHeight }

func (f files) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var read [][]byte
	for _, tile := range tiles {
		// C2SP leaves the height of the tiles out of the name.
		path := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", tileHeight), "tile/", 1)
		data, err := os.ReadFile(filepath.Join(string(f), path))
		if err != nil {
			return nil, err
		}
		read = append(read, data)
	}
	return read, nil
}

func (f files) SaveTiles([]tlog.Tile, [][]byte) {}

// entry returns the data of a leaf from its entry bundle.
func entry(directory string, number, size int64) []byte {
	bundle := tlog.Tile{H: tileHeight, L: 0, N: number >> tileHeight, W: 1 << tileHeight}
	if first := bundle.N << tileHeight; size-first < 1<<tileHeight {
		bundle.W = int(size - first)
	}
	path := strings.Replace(bundle.Path(), fmt.Sprintf("tile/%d/0/", tileHeight), "tile/entries/", 1)
	data, err := os.ReadFile(filepath.Join(directory, path))
	must(err)
	stream := bytes.NewBuffer(data)
	for range number & (1<<tileHeight - 1) {
		next(stream)
	}
	return next(stream)
}

func next(stream *bytes.Buffer) []byte {
	head := stream.Next(2)
	return stream.Next(int(head[0])<<8 | int(head[1]))
}
