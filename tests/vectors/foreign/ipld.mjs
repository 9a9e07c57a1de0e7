// Prints ../foreign.json: CIDs, CARs and DAG-CBOR blocks made by JavaScript implementations that share no code with us.
//
// In an empty folder outside the checkout, with package.json and this file copied into it:
//
//     npm install && node ipld.mjs > foreign.json
//
// The bytes of a file: its n-th MiB (from 0) is the number n as 8 bytes, big-endian, repeated; the last one is cut.
// The small trees count in chunks of 10 bytes: the byte at offset i is i mod 251.

import { readFileSync } from 'node:fs'
import { CarWriter } from '@ipld/car'
import * as dagCbor from '@ipld/dag-cbor'
import * as dagJson from '@ipld/dag-json'
import { CAREncoderStream, createDirectoryEncoderStream, createFileEncoderStream } from 'ipfs-car'
import { importByteStream } from 'ipfs-unixfs-importer'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced } from 'ipfs-unixfs-importer/layout'
import { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import { sha256 } from 'multiformats/hashes/sha2'

const MIB = 1 << 20
const SIZES = [0, 1, 11, MIB - 1, MIB, MIB + 1, 2 * MIB - 1, 2 * MIB, 2 * MIB + 1, 1024 * MIB, 1024 * MIB + 1, 1025 * MIB]
const SMALL = [0, 1, 9, 10, 11, 29, 30, 31, 89, 90, 91, 100, 269, 270, 271, 280, 300, 810, 811, 2431]

function * pattern (size) {
  for (let n = 0; n * MIB < size; n++) {
    const number = Buffer.alloc(8)
    number.writeBigUInt64BE(BigInt(n))
    yield new Uint8Array(Buffer.alloc(MIB, number)).subarray(0, Math.min(MIB, size - n * MIB))
  }
}

const small = (size) => Uint8Array.from({ length: size }, (_, i) => i % 251)
const hex = (bytes) => Buffer.from(bytes).toString('hex')

// -- ipfs-unixfs-importer

async function imported (source, chunkSize, width) {
  const nowhere = { put: async (cid) => cid }
  const options = {
    cidVersion: 1,
    rawLeaves: true,
    reduceSingleLeafToSelf: true,
    chunker: fixedSize({ chunkSize }),
    layout: balanced({ maxChildrenPerNode: width })
  }
  return (await importByteStream(source, nowhere, options)).cid.toString()
}

// -- ipfs-car

async function blocksOf (stream) {
  const blocks = []
  await stream.pipeTo(new WritableStream({ write: (block) => { blocks.push({ cid: block.cid, bytes: block.bytes }) } }))
  return blocks
}

async function rootByIpfsCar (size) {
  let root
  const pieces = pattern(size)
  const stream = new ReadableStream({
    pull: (controller) => {
      const { value, done } = pieces.next()
      if (done) controller.close()
      else controller.enqueue(value)
    }
  })
  await createFileEncoderStream({ stream: () => stream }).pipeTo(new WritableStream({ write: ({ cid }) => { root = cid } }))
  return root.toString()
}

async function carByIpfsCar (stream) {
  const blocks = await blocksOf(stream)
  const parts = []
  await new ReadableStream({
    start: (controller) => { blocks.forEach((block) => controller.enqueue(block)); controller.close() }
  }).pipeThrough(new CAREncoderStream([blocks.at(-1).cid])).pipeTo(new WritableStream({ write: (part) => { parts.push(part) } }))
  return { hex: hex(Buffer.concat(parts)), roots: [blocks.at(-1).cid.toString()], blocks: blocks.map(({ cid }) => cid.toString()) }
}

// -- @ipld/car

async function carByIpld (texts, rootCount) {
  const blocks = []
  for (const text of texts) {
    const bytes = new TextEncoder().encode(text)
    blocks.push({ cid: CID.createV1(raw.code, await sha256.digest(bytes)), bytes })
  }
  const roots = blocks.slice(0, rootCount).map(({ cid }) => cid)
  const { writer, out } = CarWriter.create(roots)
  const parts = (async () => { const all = []; for await (const part of out) all.push(part); return Buffer.concat(all) })()
  for (const block of blocks) await writer.put(block)
  await writer.close()
  return { hex: hex(await parts), roots: roots.map(String), blocks: blocks.map(({ cid }) => cid.toString()) }
}

// -- @ipld/dag-cbor

const LINK = CID.parse('bafyreigaknpexyvxt76zgkitavbwx6ejgfheup5oybpm77f3pxzrvwpfdi')
const VALUES = [
  null, true, false, 0, 1, 23, 24, 255, 256, 65535, 65536, 4294967295, 4294967296n, 9007199254740991n,
  18446744073709551615n, -1, -24, -25, -256, -257, -65536, -65537, -4294967296n, -4294967297n, -9223372036854775808n,
  0.5, -0.25, 1.1, 5e-324, 1.7976931348623157e308, -1e100,
  '', 'a', 'ä', '水', '𐅑', '\u0000', '"\\', 'x'.repeat(23), 'x'.repeat(24), 'x'.repeat(255), 'x'.repeat(256),
  new Uint8Array(0), Uint8Array.of(0, 255), new Uint8Array(23), new Uint8Array(24), new Uint8Array(256),
  [], [[]], [1, [2, [3, []]]], Array.from({ length: 23 }, (_, i) => i), Array.from({ length: 24 }, (_, i) => i),
  {}, { a: {} }, { b: 1, aa: 2, a: 3, '': 4, 'ä': 5, ab: 6 }, { zz: 1, aaa: 2, z: { y: [null, { x: 'w' }] } },
  Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`key ${i}`, i])),
  LINK, [LINK, LINK], { payload: LINK, prev: LINK.toString(), edge: new Uint8Array(32), stats: { p50: 0.125, levels: { info: 97 } } }
]

async function dagCborVector (value) {
  const block = dagCbor.encode(value)
  const cid = CID.createV1(dagCbor.code, await sha256.digest(block))
  return { value: new TextDecoder().decode(dagJson.encode(value)), hex: hex(block), cid: cid.toString() }
}

const unixfs = {}
for (const size of SIZES) {
  unixfs[size] = {
    'ipfs-unixfs-importer': await imported(pattern(size), MIB, 1024),
    'ipfs-car': await rootByIpfsCar(size)
  }
}
const trees = []
for (const [chunk, width] of [[10, 3], [10, 2]]) {
  for (const size of SMALL) trees.push({ size, chunk, width, cid: await imported([small(size)], chunk, width) })
}
const cars = {
  'ipfs-car file': await carByIpfsCar(createFileEncoderStream(new Blob(['hello world\n']))),
  'ipfs-car directory': await carByIpfsCar(createDirectoryEncoderStream([
    { name: 'a.txt', stream: () => new Blob(['first']).stream() },
    { name: 'b.txt', stream: () => new Blob(['second']).stream() }
  ])),
  '@ipld/car one root': await carByIpld(['one', 'two', ''], 1),
  '@ipld/car three roots': await carByIpld(['one', 'two', 'x'.repeat(300)], 3)
}
const vectors = {
  made_by: { node: process.version, ...JSON.parse(readFileSync(new URL('package.json', import.meta.url))).dependencies },
  unixfs,
  trees,
  cars,
  dag_cbor: await Promise.all(VALUES.map(dagCborVector))
}
process.stdout.write(JSON.stringify(vectors, null, 1) + '\n')
