package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"io"
	"math"
	"net/http"
	"os"
	"sort"
	"strings"
)

const (
	raw     = 0x55
	dagPB   = 0x70
	dagCBOR = 0x71
)

// cid is a binary CIDv1 with SHA-256.
type cid [36]byte

var base32Text = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

func (c cid) String() string { return "b" + base32Text.EncodeToString(c[:]) }

func parseCID(text string) cid {
	check(strings.HasPrefix(text, "b"), "not a CID: %q", text)
	data, err := base32Text.DecodeString(text[1:])
	must(err)
	return newCID(data)
}

func newCID(data []byte) cid {
	check(len(data) == 36 && data[0] == 1 && data[2] == 0x12 && data[3] == 0x20, "not a CIDv1 with SHA-256: %x", data)
	check(data[1] == raw || data[1] == dagPB || data[1] == dagCBOR, "a CID of another codec: %x", data)
	return cid(data)
}

// A source gives blocks that were hashed.
type source func(cid) ([]byte, bool)

func hashed(name cid, block []byte) []byte {
	sum := sha256.Sum256(block)
	check(bytes.Equal(sum[:], name[4:]), "the block is not %s", name)
	return block
}

func fetch(from source, name cid) []byte {
	block, found := from(name)
	check(found, "no block %s", name)
	return block
}

func gateway(url string) source {
	return func(name cid) ([]byte, bool) {
		answer, err := http.Get(strings.TrimSuffix(url, "/") + "/ipfs/" + name.String() + "?format=raw")
		must(err)
		defer answer.Body.Close()
		block, err := io.ReadAll(io.LimitReader(answer.Body, 4<<20))
		must(err)
		if answer.StatusCode != http.StatusOK {
			return nil, false
		}
		return hashed(name, block), true
	}
}

// readCAR reads a CARv1 file into memory; returns its blocks and its roots.
func readCAR(path string) (source, []cid) {
	data, err := os.ReadFile(path)
	must(err)
	blocks := map[[34]byte][]byte{} // by hash: a manifest whose payload was given up may be there as a raw block
	header := section(&data)
	value := decode(header, "the header of the file", "version", "roots")
	check(value.uint("version") == 1, "a CAR file of another version")
	for len(data) > 0 {
		part := section(&data)
		check(len(part) >= 36, "a section without a CID")
		name := newCID(part[:36])
		blocks[[34]byte(name[2:])] = hashed(name, part[36:])
	}
	var roots []cid
	for _, root := range value["roots"].([]any) {
		roots = append(roots, root.(cid))
	}
	return func(name cid) ([]byte, bool) {
		block, found := blocks[[34]byte(name[2:])]
		return block, found
	}, roots
}

func section(data *[]byte) []byte {
	length, size := binary.Uvarint(*data)
	check(size > 0 && length <= uint64(len(*data)-size), "the file is cut")
	part := (*data)[size : size+int(length)]
	*data = (*data)[size+int(length):]
	return part
}

// -- DAG-CBOR

// value is a map with text keys. Integers are uint64 or int64, links are cid.
type value map[string]any

func (v value) uint(key string) uint64 {
	found, right := v[key].(uint64)
	check(right, "%s is not a number", key)
	return found
}

func (v value) text(key string) string {
	found, right := v[key].(string)
	check(right, "%s is not a text", key)
	return found
}

func (v value) bytes(key string) []byte {
	found, right := v[key].([]byte)
	check(right, "%s is not bytes", key)
	return found
}

func (v value) link(key string) cid {
	found, right := v[key].(cid)
	check(right, "%s is not a link", key)
	return found
}

// decode decodes a map; with keys, it must have exactly these (and may have `ext`).
func decode(block []byte, where string, keys ...string) value {
	found, isMap := decodeAny(block, where).(value)
	check(isMap, "%s is not a map", where)
	for _, key := range keys {
		_, has := found[key]
		check(has, "%s has no %s", where, key)
	}
	_, more := found["ext"]
	check(len(keys) == 0 || len(found) == len(keys) || more && len(found) == len(keys)+1, "%s has unknown keys", where)
	return found
}

func decodeAny(block []byte, where string) any {
	d := &decoder{block, where}
	found := d.item(0)
	check(len(d.rest) == 0, "%s: bytes after the end", where)
	return found
}

type decoder struct {
	rest  []byte
	where string
}

func (d *decoder) take(count uint64) []byte {
	check(count <= uint64(len(d.rest)), "%s is cut", d.where)
	taken := d.rest[:count]
	d.rest = d.rest[count:]
	return taken
}

// head reads the head of an item, whose number must have its shortest form.
func (d *decoder) head() (major byte, info byte, number uint64) {
	first := d.take(1)[0]
	major, info = first>>5, first&31
	if info < 24 {
		return major, info, uint64(info)
	}
	check(info <= 27, "%s: an item of unknown length", d.where)
	for _, digit := range d.take(1 << (info - 24)) {
		number = number<<8 | uint64(digit)
	}
	least := []uint64{24, 1 << 8, 1 << 16, 1 << 32}[info-24]
	check(major == 7 || number >= least, "%s: a number that is not in its shortest form", d.where)
	return major, info, number
}

func (d *decoder) item(depth int) any {
	check(depth < 16, "%s is nested too deep", d.where)
	major, info, number := d.head()
	switch major {
	case 0:
		return number
	case 1:
		check(number <= math.MaxInt64, "%s: a number that is too small", d.where)
		return -1 - int64(number)
	case 2:
		return d.take(number)
	case 3:
		return string(d.take(number))
	case 4:
		list := []any{}
		for range number {
			list = append(list, d.item(depth+1))
		}
		return list
	case 5:
		return d.table(number, depth)
	case 6:
		link, isBytes := d.item(depth + 1).([]byte)
		check(number == 42 && isBytes && len(link) == 37 && link[0] == 0, "%s: a wrong tag", d.where)
		return newCID(link[1:])
	}
	switch info {
	case 20, 21:
		return info == 21
	case 22:
		return nil
	case 27:
		float := math.Float64frombits(number)
		check(!math.IsNaN(float) && !math.IsInf(float, 0), "%s: a float that is not finite", d.where)
		return float
	}
	check(false, "%s: a simple value of CBOR that DAG-CBOR does not have", d.where)
	return nil
}

func (d *decoder) table(count uint64, depth int) value {
	found := value{}
	var keys []string
	for range count {
		key, isText := d.item(depth + 1).(string)
		check(isText, "%s: a key that is not a text", d.where)
		keys = append(keys, key)
		found[key] = d.item(depth + 1)
	}
	check(len(found) == len(keys) && sort.SliceIsSorted(keys, func(a, b int) bool {
		return len(keys[a]) < len(keys[b]) || len(keys[a]) == len(keys[b]) && keys[a] < keys[b]
	}), "%s: keys out of order", d.where)
	return found
}

// -- UnixFS

// readFile returns the bytes of a raw block, or of a UnixFS file: a dag-pb node has its parts as links, in order.
func readFile(from source, name cid) []byte {
	block := fetch(from, name)
	if name[1] == raw {
		return block
	}
	check(name[1] == dagPB, "%s is not a file", name)
	var whole []byte
	for _, link := range fields(block)[2] {
		whole = append(whole, readFile(from, newCID(fields(link)[1][0]))...)
	}
	return whole
}

// fields returns the byte strings of a protobuf message, by the numbers of their fields.
func fields(message []byte) map[uint64][][]byte {
	found := map[uint64][][]byte{}
	for len(message) > 0 {
		tag, size := binary.Uvarint(message)
		check(size > 0, "a message is cut")
		message = message[size:]
		switch tag & 7 {
		case 0:
			_, size := binary.Uvarint(message)
			check(size > 0, "a message is cut")
			message = message[size:]
		case 2:
			found[tag>>3] = append(found[tag>>3], section(&message))
		default:
			check(false, "a field of another type")
		}
	}
	return found
}
