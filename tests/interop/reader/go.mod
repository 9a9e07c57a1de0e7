module ipfs-log-handlers/tests/interop/reader

go 1.26.0

require github.com/klauspost/compress v1.19.1
