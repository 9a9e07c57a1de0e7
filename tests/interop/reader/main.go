// A reader of the logs of ipfs_log_handlers that shares no code with them: it is written from docs/formats.md alone.
//
//	reader KEY FILE.car            every log of an exported CAR file
//	reader KEY CID GATEWAY         the log of a head block or snapshot, from an HTTP gateway or a daemon's gateway port
//
// It checks the signed head, every manifest back to the first one that the source has, every block and every record. Only
// if all of a log is right, it prints the records, each with its `subsystem`, in log order. KEY is the verifier key.
package main

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha3"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log"
	"math/bits"
	"os"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
)

func main() {
	log.SetFlags(0)
	output := bufio.NewWriter(os.Stdout)
	var from source
	var roots []cid
	switch len(os.Args) {
	case 3:
		from, roots = readCAR(os.Args[2])
	case 4:
		from, roots = gateway(os.Args[3]), []cid{parseCID(os.Args[2])}
	default:
		log.Fatal("usage: reader KEY FILE.car | reader KEY CID GATEWAY")
	}
	key := parseKey(os.Args[1])
	logs := 0
	for _, root := range roots {
		block := decode(fetch(from, root), root.String())
		switch {
		case block["links"] != nil: // a snapshot
			head := block.link("head")
			manifests := readLog(from, key, head, output)
			check(uint64(len(manifests)) == block.uint("size"), "%s: a snapshot of %d batches", root, block.uint("size"))
		case block["checkpoint"] != nil:
			readLog(from, key, root, output)
		default: // a manifest of a log whose head block is another root
			continue
		}
		logs++
	}
	check(logs > 0, "no head block and no snapshot")
	must(output.Flush())
}

// readLog checks the log up to a head block, prints its records, and returns its manifests.
func readLog(from source, key verifierKey, headCID cid, output *bufio.Writer) []manifest {
	head := decode(fetch(from, headCID), "the head block", "v", "log", "index", "manifest", "checkpoint")
	check(head.uint("v") == 1, "a head block of version %d", head.uint("v"))
	name, index := head.text("log"), head.uint("index")
	check(strings.HasPrefix(name, key.name+"/"), "%s is not a log of %s", name, key.name)
	origin, size, root := openCheckpoint(key, head.bytes("checkpoint"))
	check(origin == name && size == index+1, "the checkpoint is about %d batches of %s", size, origin)

	chain := walk(from, head.link("manifest"), name, index)
	edge := chain[0].edge()
	for at, each := range chain {
		check(bytes.Equal(bytes.Join(edge, nil), each.bytes("edge")), "%s: wrong edge", each.where())
		if jump := jumpOf(each.index); jump >= int64(chain[0].index) {
			before := chain[jump-int64(chain[0].index)]
			check(each.text("jump") == before.cid.String(), "%s: wrong jump", each.where())
		}
		edge = grow(edge, each.index, leafHash(each.cid[:]))
		check(at == 0 || each.text("prev") == chain[at-1].cid.String(), "%s: wrong prev", each.where())
	}
	check(bytes.Equal(rootOf(edge), root), "%s: the manifests have another root than the signed one", name)

	subsystem := strings.Split(name, "/")[2]
	for _, each := range chain {
		if _, here := from(each.link("payload")); !here && givenUp(chain, each) {
			continue
		}
		for _, line := range each.records(from) {
			_, err := fmt.Fprintf(output, "%s,\"subsystem\":%q}\n", line[:len(line)-1], subsystem)
			must(err)
		}
	}
	return chain
}

// givenUp says whether an act in a later batch has given up the payload of a batch.
func givenUp(chain []manifest, batch manifest) bool {
	for _, each := range chain {
		ext, _ := each.value["ext"].(value)
		act, _ := ext["ipfs-logs/act"].(value)
		if act["act"] != "prune" || each.index <= batch.index {
			continue
		}
		for _, entry := range act["batches"].([]any) {
			log, runs := entry.([]any)[0], entry.([]any)[1].([]any)
			for _, run := range runs {
				first, last := run.([]any)[0].(uint64), run.([]any)[1].(uint64)
				if log == batch.text("log") && first <= batch.index && batch.index <= last {
					return true
				}
			}
		}
	}
	return false
}

// walk follows `prev` from the newest manifest to the first one, or to the first one that a file has.
func walk(from source, newest cid, name string, index uint64) []manifest {
	var chain []manifest
	for at := newest; ; {
		block, found := from(at)
		if !found && len(chain) > 0 && chain[0].index > 0 {
			break // the file begins after it
		}
		check(found, "no block %s", at)
		each := manifest{at, index, decode(block, at.String(), manifestKeys...)}
		check(each.uint("v") == 1 && each.text("log") == name && each.uint("index") == index, "%s is not batch %d", at, index)
		chain = append([]manifest{each}, chain...)
		if index == 0 {
			check(each.value["prev"] == nil && each.value["jump"] == nil, "%s: there is nothing before it", each.where())
			break
		}
		at, index = parseCID(each.text("prev")), index-1
	}
	return chain
}

var manifestKeys = strings.Fields(
	"v log index prev jump edge sealed first last records dropped payload size raw encoding root meta stats sources " +
		"evidence")

type manifest struct {
	cid   cid
	index uint64
	value
}

func (m manifest) where() string { return fmt.Sprintf("%s batch %d", m.text("log"), m.index) }

func (m manifest) edge() (hashes [][]byte) {
	for edge := m.bytes("edge"); len(edge) > 0; edge = edge[32:] {
		check(len(edge) >= 32, "%s: an edge is of hashes of 32 bytes", m.where())
		hashes = append(hashes, edge[:32])
	}
	check(len(hashes) == bits.OnesCount64(m.index), "%s: %d hashes in the edge", m.where(), len(hashes))
	return hashes
}

const maxRaw = 256 << 20

// records checks the payload, and returns the records.
func (m manifest) records(from source) [][]byte {
	if m.text("encoding") == "unixfs" || m.text("encoding") == "unixfs+zstd+age" { // an archive has no records
		check(m.uint("records") == 0, "%s: records in an archive", m.where())
		return nil
	}
	check(m.text("encoding") == "jsonl+zstd", "%s: unknown encoding %q", m.where(), m.text("encoding"))
	check(m.uint("raw") <= maxRaw, "%s: too large", m.where())
	payload := readFile(from, m.link("payload"))
	check(uint64(len(payload)) == m.uint("size"), "%s: a payload of %d bytes", m.where(), len(payload))
	salt := m.salt(payload)
	zstds, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxRaw), zstd.WithDecoderMaxWindow(8<<20))
	must(err)
	text, err := zstds.DecodeAll(payload, nil) // skips the salt
	check(err == nil && uint64(len(text)) == m.uint("raw"), "%s: %d bytes of lines (%v)", m.where(), len(text), err)
	check(len(text) == 0 || text[len(text)-1] == '\n', "%s: the last line has no end", m.where())
	lines := bytes.Split(text, []byte("\n"))
	lines = lines[:len(lines)-1]
	check(uint64(len(lines)) == m.uint("records"), "%s: %d records", m.where(), len(lines))

	salts := sha3.NewSHAKE256()
	salts.Write(append([]byte("ipfs-log/record-salt/v1\n"), salt...))
	var edge [][]byte
	for number, line := range lines {
		own := make([]byte, 16)
		salts.Read(own)
		edge = grow(edge, uint64(number), leafHash(append(own, line...)))
	}
	check(bytes.Equal(rootOf(edge), m.bytes("root")), "%s: the records have another root", m.where())
	return lines
}

// salt reads the skippable frame with which a payload begins.
func (m manifest) salt(payload []byte) []byte {
	check(len(payload) >= 8 && binary.LittleEndian.Uint32(payload) == 0x184D2A50, "%s: no salt", m.where())
	length := uint64(binary.LittleEndian.Uint32(payload[4:]))
	check(uint64(len(payload)) >= 8+length, "%s: a salt that is cut", m.where())
	place, isList := decodeAny(payload[8:8+length], m.where()).([]any)
	check(isList && len(place) == 3, "%s: not a salt", m.where())
	salt, _ := place[0].([]byte)
	check(len(salt) == 32 && place[1] == m.text("log") && place[2] == m.index, "%s: a payload of another batch", m.where())
	return salt
}

// -- the tree

func leafHash(data []byte) []byte {
	sum := sha256.Sum256(append([]byte{0}, data...))
	return sum[:]
}

func nodeHash(left, right []byte) []byte {
	sum := sha256.Sum256(append(append([]byte{1}, left...), right...))
	return sum[:]
}

// grow returns the edge of size + 1 leaves.
func grow(edge [][]byte, size uint64, leaf []byte) [][]byte {
	for edge = edge[:len(edge):len(edge)]; size&1 == 1; size >>= 1 {
		leaf = nodeHash(edge[len(edge)-1], leaf)
		edge = edge[: len(edge)-1 : len(edge)-1]
	}
	return append(edge, leaf)
}

func rootOf(edge [][]byte) []byte {
	if len(edge) == 0 {
		sum := sha256.Sum256(nil)
		return sum[:]
	}
	root := edge[len(edge)-1]
	for at := len(edge) - 2; at >= 0; at-- {
		root = nodeHash(edge[at], root)
	}
	return root
}

// jumpOf returns the number of the manifest that `jump` names; -1 for the first one.
func jumpOf(index uint64) int64 {
	if index == 0 {
		return -1
	}
	for rest := index; ; {
		step := uint64(1)<<(bits.Len64(rest+1)-1) - 1
		if step == rest {
			return int64(index - step)
		}
		rest -= step
	}
}

// -- the signature

type verifierKey struct {
	name   string
	id     []byte
	public ed25519.PublicKey
}

func parseKey(text string) verifierKey {
	parts := strings.SplitN(text, "+", 3)
	check(len(parts) == 3, "a verifier key is name+id+base64")
	id, err := hex.DecodeString(parts[1])
	must(err)
	public, err := base64.StdEncoding.DecodeString(parts[2])
	must(err)
	check(len(public) == 33 && public[0] == 1, "not an Ed25519 key")
	sum := sha256.Sum256([]byte(parts[0] + "\n" + string(public)))
	check(bytes.Equal(sum[:4], id), "the verifier key is damaged")
	return verifierKey{parts[0], id, public[1:]}
}

// openCheckpoint checks the signature of the key, and returns origin, size and root.
func openCheckpoint(key verifierKey, note []byte) (string, uint64, []byte) {
	text, signatures, found := strings.Cut(string(note), "\n\n")
	check(found, "not a signed note")
	text += "\n"
	signed := false
	for _, line := range strings.Split(strings.TrimSuffix(signatures, "\n"), "\n") {
		parts := strings.Split(line, " ")
		check(len(parts) == 3 && parts[0] == "—", "not a signature line")
		blob, err := base64.StdEncoding.DecodeString(parts[2])
		must(err)
		if parts[1] == key.name && len(blob) == 68 && bytes.Equal(blob[:4], key.id) {
			check(ed25519.Verify(key.public, []byte(text), blob[4:]), "a wrong signature of %s", key.name)
			signed = true
		}
	}
	check(signed, "the head is not signed by %s", key.name)
	lines := strings.Split(text, "\n")
	check(len(lines) >= 4, "not a checkpoint")
	size, err := strconv.ParseUint(lines[1], 10, 63)
	check(err == nil && strconv.FormatUint(size, 10) == lines[1], "not a size: %q", lines[1])
	root, err := base64.StdEncoding.DecodeString(lines[2])
	must(err)
	return lines[0], size, root
}

func check(holds bool, format string, values ...any) {
	if !holds {
		log.Fatalf(format, values...)
	}
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
