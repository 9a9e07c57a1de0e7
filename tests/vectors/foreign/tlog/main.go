// Signed notes, roots and proofs, made and checked by Go's own transparency log code.
//
//	go run . vectors > ../../tlog.json     what our code must accept, and make again
//	go run . verify ../../chain.json       checks what our code made
//	go run . proofs < FILE                 checks proofs of all trees over some leaves
//	go run . note KEY… < FILE              opens a signed note with each of these keys, and prints its text
//	go run . proof KEY CID < FILE          checks a tlog-proof of a manifest
//	go run . tiles KEY DIR                 checks a log that was exported as tiles
//
// `vectors` uses fixed seeds: the same file comes out on each run. `check.go` has the other commands.
package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	everySize = 20 // all proofs of all trees up to here
	bigSize   = 1000
)

// A Proof shows leaf Number to be in the tree of Size leaves, or the first Number leaves to be its beginning.
type Proof struct {
	Size   int64    `json:"size"`
	Number int64    `json:"number"`
	Hashes []string `json:"hashes"`
}

// A Key is an Ed25519 key in the forms that notes use.
type Key struct {
	Seed     string `json:"seed"`
	Name     string `json:"name"`
	Secret   string `json:"secret"`
	Verifier string `json:"verifier"`
}

// A Note is a text and the names of its signers in order.
type Note struct {
	Text    string   `json:"text"`
	Signers []string `json:"signers"`
	Signed  string   `json:"signed"`
}

// Vectors is what `vectors` writes.
type Vectors struct {
	Keys        []Key    `json:"keys"`
	Notes       []Note   `json:"notes"`
	Leaves      string   `json:"leaves"`
	Roots       []string `json:"roots"`
	Inclusion   []Proof  `json:"inclusion"`
	Consistency []Proof  `json:"consistency"`
}

func main() {
	log.SetFlags(0)
	arguments := os.Args[1:]
	command := ""
	if len(arguments) > 0 {
		command, arguments = arguments[0], arguments[1:]
	}
	switch {
	case command == "vectors" && len(arguments) == 0:
		vectors()
	case command == "verify" && len(arguments) == 1:
		verify(arguments[0])
	case command == "proofs" && len(arguments) == 0:
		proofs(os.Stdin)
	case command == "note" && len(arguments) > 0:
		openNote(os.Stdin, arguments)
	case command == "proof" && len(arguments) == 2:
		tlogProof(os.Stdin, arguments[0], arguments[1])
	case command == "tiles" && len(arguments) == 2:
		tiles(arguments[0], arguments[1])
	default:
		log.Fatal("usage: tlog vectors | verify FILE | proofs | note KEY… | proof KEY CID | tiles KEY DIR")
	}
}

func vectors() {
	tree := &memory{}
	for n := range bigSize {
		tree.add(binary.BigEndian.AppendUint64(nil, uint64(n)))
	}
	out := Vectors{Leaves: "leaf n is n as 8 bytes, big-endian"}
	keys := []Key{newKey(1, "ipfs-logs/"), newKey(2, "witness.example/w1"), newKey(3, "ä/ö")}
	out.Keys = keys
	for size := range int64(everySize + 1) {
		out.Roots = append(out.Roots, tree.root(size).hex())
		for number := range size {
			out.Inclusion = append(out.Inclusion, tree.inclusion(size, number))
		}
		for old := int64(1); old <= size; old++ {
			out.Consistency = append(out.Consistency, tree.consistency(size, old))
		}
	}
	for _, number := range []int64{0, 1, 500, 511, 512, 767, 998, 999} {
		out.Inclusion = append(out.Inclusion, tree.inclusion(bigSize, number))
		out.Consistency = append(out.Consistency, tree.consistency(bigSize, number+1))
	}
	origin := keys[0].Name + "/audit/01234567"
	for _, size := range []int64{0, 1, 7, bigSize} {
		text := fmt.Sprintf("%s\n%d\n%s\n", origin, size, tree.root(size).base64())
		out.Notes = append(out.Notes, sign(text, keys[:1]), sign(text+"extension line\n", keys))
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", " ")
	must(encoder.Encode(out))
}

// newKey makes the key with 32 times the same byte as its seed; a name that ends in a slash gets a part of its hash.
func newKey(fill byte, name string) Key {
	seed := []byte(strings.Repeat(string(rune(fill)), ed25519.SeedSize))
	public := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	if strings.HasSuffix(name, "/") {
		sum := sha256.Sum256(public)
		name += hex.EncodeToString(sum[:8])
	}
	verifier, err := note.NewEd25519VerifierKey(name, public)
	must(err)
	id := strings.Split(strings.TrimPrefix(verifier, name+"+"), "+")[0]
	secret := "PRIVATE+KEY+" + name + "+" + id + "+" + base64.StdEncoding.EncodeToString(append([]byte{1}, seed...))
	return Key{hex.EncodeToString(seed), name, secret, verifier}
}

func sign(text string, keys []Key) Note {
	var signers []note.Signer
	var names []string
	for _, key := range keys {
		signer, err := note.NewSigner(key.Secret)
		must(err)
		signers = append(signers, signer)
		names = append(names, key.Name)
	}
	signed, err := note.Sign(&note.Note{Text: text}, signers...)
	must(err)
	return Note{text, names, string(signed)}
}

// memory keeps the hashes of a tree as tlog numbers them.
type memory struct {
	hashes []tlog.Hash
	size   int64
}

type hash tlog.Hash

func (h hash) hex() string    { return hex.EncodeToString(h[:]) }
func (h hash) base64() string { return base64.StdEncoding.EncodeToString(h[:]) }

func (m *memory) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var found []tlog.Hash
	for _, index := range indexes {
		found = append(found, m.hashes[index])
	}
	return found, nil
}

func (m *memory) add(leaf []byte) {
	hashes, err := tlog.StoredHashes(m.size, leaf, m)
	must(err)
	m.hashes = append(m.hashes, hashes...)
	m.size++
}

func (m *memory) root(size int64) hash {
	root, err := tlog.TreeHash(size, m)
	must(err)
	return hash(root)
}

func (m *memory) inclusion(size, number int64) Proof {
	proof, err := tlog.ProveRecord(size, number, m)
	must(err)
	return newProof(size, number, proof)
}

func (m *memory) consistency(size, old int64) Proof {
	proof, err := tlog.ProveTree(size, old, m)
	must(err)
	return newProof(size, old, proof)
}

func newProof(size, number int64, hashes []tlog.Hash) Proof {
	proof := Proof{size, number, []string{}}
	for _, each := range hashes {
		proof.Hashes = append(proof.Hashes, hash(each).hex())
	}
	return proof
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
