/* CRC-32 as in zlib (RFC 1952, section 8), eight bytes at a step. */
#ifndef CRC32_H
#define CRC32_H

#include <stdint.h>
#include <string.h>

static uint32_t crc32_tables[8][256];

static void crc32_begin(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t value = byte;
        for (int bit = 0; bit < 8; bit++)
            value = value & 1 ? 0xEDB88320u ^ (value >> 1) : value >> 1;
        crc32_tables[0][byte] = value;
    }
    for (int step = 1; step < 8; step++)
        for (int byte = 0; byte < 256; byte++) {
            uint32_t before = crc32_tables[step - 1][byte];
            crc32_tables[step][byte] = before >> 8 ^ crc32_tables[0][before & 255];
        }
}

static uint32_t crc32_of(const unsigned char *bytes, size_t size)
{
    uint32_t crc = 0xFFFFFFFFu;
    for (; size >= 8; size -= 8, bytes += 8) {
        uint32_t low = (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
        low ^= crc;
        crc = crc32_tables[7][low & 255] ^ crc32_tables[6][low >> 8 & 255] ^ crc32_tables[5][low >> 16 & 255]
            ^ crc32_tables[4][low >> 24] ^ crc32_tables[3][bytes[4]] ^ crc32_tables[2][bytes[5]]
            ^ crc32_tables[1][bytes[6]] ^ crc32_tables[0][bytes[7]];
    }
    while (size--)
        crc = crc32_tables[0][(crc ^ *bytes++) & 255] ^ crc >> 8;
    return ~crc;
}

/* Write a checksum in eight lower-case hex digits. */
static void put_crc32(char *at, uint32_t crc)
{
    for (int digit = 7; digit >= 0; digit--, crc >>= 4)
        at[digit] = "0123456789abcdef"[crc & 15];
}

#endif
