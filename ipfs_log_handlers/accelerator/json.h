/* JSON of plain Python values, in the very bytes that msgspec writes (`format/record.py`).

   Nothing here runs code of a value: only the exact types str, int, float, bool, None, dict, list and tuple are written.
   Every function returns 0 for anything else, and leaves no exception set. */
#ifndef JSON_H
#define JSON_H

#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Containers inside one another; `format.values` writes a few levels more. */
#define MAX_DEPTH 60
/* Bytes that are free whenever a number, a constant or a bracket is written. */
#define ALWAYS_FREE 128

/* ---- a buffer on the stack that moves to the heap when it grows */

typedef struct {
    char *at, *base, *end;
    int has_escape; /* whether a text contained U+001B, which begins the colours of a terminal */
    char first[4096];
} Buffer;

static void buffer_begin(Buffer *buffer)
{
    buffer->base = buffer->at = buffer->first;
    buffer->end = buffer->first + sizeof buffer->first;
    buffer->has_escape = 0;
}

static void buffer_end(Buffer *buffer)
{
    if (buffer->base != buffer->first)
        free(buffer->base);
}

static int buffer_grow(Buffer *buffer, size_t more)
{
    size_t used = (size_t)(buffer->at - buffer->base), size = (size_t)(buffer->end - buffer->base) * 2 + more;
    char *grown = malloc(size);
    if (!grown)
        return 0;
    memcpy(grown, buffer->base, used);
    buffer_end(buffer);
    buffer->base = grown;
    buffer->at = grown + used;
    buffer->end = grown + size;
    return 1;
}

/* Have this many bytes free. */
static int reserve(Buffer *buffer, size_t bytes)
{
    return (size_t)(buffer->end - buffer->at) >= bytes || buffer_grow(buffer, bytes);
}

static void put(Buffer *buffer, const char *bytes, size_t size)
{
    memcpy(buffer->at, bytes, size);
    buffer->at += size;
}

#define PUT(buffer, text) put(buffer, text, sizeof(text) - 1)

/* ---- numbers */

static char *put_digits(char *at, unsigned long long number)
{
    char reversed[24];
    int count = 0;
    do {
        reversed[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    while (count)
        *at++ = reversed[--count];
    return at;
}

static int put_integer(Buffer *buffer, PyObject *value)
{
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow)
        return 0;
    if (number < 0)
        *buffer->at++ = '-';
    buffer->at = put_digits(buffer->at, number < 0 ? 0ULL - (unsigned long long)number : (unsigned long long)number);
    return 1;
}

/* Write a number that is m / 10^k with k <= 6, as most numbers of programs are: then m's digits are its shortest text. */
static int put_short_decimal(Buffer *buffer, double number)
{
    static const double powers[] = {1, 10, 100, 1e3, 1e4, 1e5, 1e6};
    double size = fabs(number);
    if (!(size < 1e9) || size < 1e-4)
        return 0;
    for (int decimals = 0; decimals < 7; decimals++) {
        double scaled = rint(size * powers[decimals]);
        if (scaled / powers[decimals] != size)
            continue;
        unsigned long long all = (unsigned long long)scaled, unit = (unsigned long long)powers[decimals];
        unsigned long long fraction = all % unit;
        if (number < 0)
            *buffer->at++ = '-';
        buffer->at = put_digits(buffer->at, all / unit);
        *buffer->at++ = '.';
        int count = decimals ? decimals : 1;
        for (int digit = count - 1; digit >= 0; digit--, fraction /= 10)
            buffer->at[digit] = (char)('0' + fraction % 10);
        buffer->at += count;
        return 1;
    }
    return 0;
}

/* Write Python's shortest text of a number in msgspec's form: 1e-05 as 0.00001, 1e+16 as 1e16, 1e-07 as 1e-7. */
static int put_float(Buffer *buffer, PyObject *value)
{
    double number = PyFloat_AsDouble(value);
    if (!isfinite(number))
        return 0;
    if (put_short_decimal(buffer, number))
        return 1;
    char *text = PyOS_double_to_string(number, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    if (!text) {
        PyErr_Clear();
        return 0;
    }
    char *exponent = strchr(text, 'e');
    if (!exponent)
        put(buffer, text, strlen(text));
    else if (strcmp(exponent, "e-05") == 0) {
        if (*text == '-')
            *buffer->at++ = '-';
        PUT(buffer, "0.0000");
        for (const char *digit = text; digit < exponent; digit++)
            if (*digit != '-' && *digit != '.')
                *buffer->at++ = *digit;
    } else {
        put(buffer, text, (size_t)(exponent - text));
        *buffer->at++ = 'e';
        if (*++exponent == '-')
            *buffer->at++ = '-';
        exponent++;
        while (*exponent == '0')
            exponent++;
        put(buffer, exponent, strlen(exponent));
    }
    PyMem_Free(text);
    return 1;
}

/* ---- texts */

/* By byte: 0 stands as it is, `u` as \u00XX, every other letter after a backslash. */
static char escapes[256];

static void json_begin(void)
{
    memset(escapes, 'u', 0x20);
    escapes['"'] = '"';
    escapes['\\'] = '\\';
    escapes['\b'] = 'b';
    escapes['\t'] = 't';
    escapes['\n'] = 'n';
    escapes['\f'] = 'f';
    escapes['\r'] = 'r';
}

/* Whether one of eight bytes is below 0x20, a quotation mark or a backslash; bytes from 0x80 on may be reported too. */
static int needs_look(uint64_t word)
{
    const uint64_t ones = 0x0101010101010101ULL, highs = 0x8080808080808080ULL;
    uint64_t quote = word ^ (ones * '"'), backslash = word ^ (ones * '\\');
    uint64_t low = (word - ones * 0x20) & ~word;
    return (((low | ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash)) & highs)) != 0;
}

static int put_text(Buffer *buffer, PyObject *value)
{
    Py_ssize_t size;
    const char *from = PyUnicode_AsUTF8AndSize(value, &size);
    if (!from) {
        PyErr_Clear();
        return 0;
    }
    if ((size_t)size > (SIZE_MAX >> 4) || !reserve(buffer, (size_t)size * 6 + ALWAYS_FREE))
        return 0;
    const char *end = from + size;
    char *at = buffer->at;
    *at++ = '"';
    while (from < end) {
        uint64_t word;
        while (end - from >= 8) {
            memcpy(&word, from, 8);
            if (needs_look(word))
                break;
            memcpy(at, &word, 8);
            at += 8;
            from += 8;
        }
        const char *stop = end - from > 8 ? from + 8 : end;
        for (; from < stop; from++) {
            unsigned char byte = (unsigned char)*from;
            char escape = escapes[byte];
            if (!escape) {
                *at++ = *from;
                continue;
            }
            *at++ = '\\';
            *at++ = escape;
            if (escape == 'u') {
                buffer->has_escape |= byte == 0x1B;
                *at++ = '0';
                *at++ = '0';
                *at++ = "0123456789abcdef"[byte >> 4];
                *at++ = "0123456789abcdef"[byte & 15];
            }
        }
    }
    *at++ = '"';
    buffer->at = at;
    return 1;
}

/* ---- keys: the same objects come again and again, so their JSON is kept */

typedef enum { FIELD, EVENT, LEFT_OUT, REFUSED } KeyKind;

#define KNOWN_KEYS 256
#define KNOWN_BYTES 48
typedef struct {
    PyObject *key; /* owned, so that no other object can have its address */
    KeyKind kind;
    int size;
    char json[KNOWN_BYTES]; /* with the colon */
} KnownKey;
static KnownKey known_keys[KNOWN_KEYS];

/* What a key means as the name of a field. The names are `ingest.fields.CLASHING`, and those that handlers add. */
static KeyKind kind_of(const char *json, size_t size)
{
    static const struct { const char *json; KeyKind kind; } special[] = {
        {"\"event\":", EVENT}, {"\"message\":", LEFT_OUT}, {"\"asctime\":", LEFT_OUT}, {"\"time\":", REFUSED},
        {"\"level\":", REFUSED}, {"\"logger\":", REFUSED}, {"\"exception\":", REFUSED}, {"\"stack\":", REFUSED},
        {"\"pid\":", REFUSED}, {"\"seq\":", REFUSED},
    };
    for (size_t number = 0; number < sizeof special / sizeof *special; number++)
        if (strlen(special[number].json) == size && memcmp(special[number].json, json, size) == 0)
            return special[number].kind;
    return FIELD;
}

/* Write `"key":`, and say what the key means as the name of a field. */
static int put_key(Buffer *buffer, PyObject *key, KeyKind *kind)
{
    if (!PyUnicode_CheckExact(key))
        return 0;
    KnownKey *known = &known_keys[((uintptr_t)key >> 4) * 0x9E3779B1u >> 8 & (KNOWN_KEYS - 1)];
    if (known->key == key) {
        if (!reserve(buffer, KNOWN_BYTES + ALWAYS_FREE))
            return 0;
        memcpy(buffer->at, known->json, KNOWN_BYTES);
        buffer->at += known->size;
        *kind = known->kind;
        return 1;
    }
    Py_ssize_t start = buffer->at - buffer->base;
    if (!put_text(buffer, key) || !reserve(buffer, ALWAYS_FREE))
        return 0;
    *buffer->at++ = ':';
    size_t size = (size_t)(buffer->at - buffer->base - start);
    *kind = kind_of(buffer->base + start, size);
    if (size <= KNOWN_BYTES) {
        PyObject *forgotten = known->key;
        Py_INCREF(key);
        known->key = key;
        known->kind = *kind;
        known->size = (int)size;
        memcpy(known->json, buffer->base + start, size);
        Py_XDECREF(forgotten); /* a str: no code runs */
    }
    return 1;
}

/* ---- values */

static int put_value(Buffer *buffer, PyObject *value, int depth);

static int put_object(Buffer *buffer, PyObject *value, int depth)
{
    Py_ssize_t position = 0;
    PyObject *key, *inner;
    KeyKind kind;
    char separator = '{';
    if (!PyDict_Size(value))
        *buffer->at++ = '{';
    while (PyDict_Next(value, &position, &key, &inner)) {
        *buffer->at++ = separator;
        separator = ',';
        if (!put_key(buffer, key, &kind) || !put_value(buffer, inner, depth + 1))
            return 0;
    }
    *buffer->at++ = '}';
    return reserve(buffer, ALWAYS_FREE);
}

static int put_array(Buffer *buffer, PyObject *value, int depth)
{
    int is_list = PyList_CheckExact(value);
    Py_ssize_t size = is_list ? PyList_Size(value) : PyTuple_Size(value);
    *buffer->at++ = '[';
    for (Py_ssize_t number = 0; number < size; number++) {
        PyObject *inner = is_list ? PyList_GetItem(value, number) : PyTuple_GetItem(value, number);
        if (number)
            *buffer->at++ = ',';
        if (!put_value(buffer, inner, depth + 1))
            return 0;
    }
    *buffer->at++ = ']';
    return reserve(buffer, ALWAYS_FREE);
}

/* Write a value; at least `ALWAYS_FREE` bytes are free before and after. */
static int put_value(Buffer *buffer, PyObject *value, int depth)
{
    PyTypeObject *type = Py_TYPE(value);
    int written;
    if (type == &PyUnicode_Type)
        written = put_text(buffer, value);
    else if (type == &PyLong_Type)
        written = put_integer(buffer, value);
    else if (type == &PyFloat_Type)
        written = put_float(buffer, value);
    else if (value == Py_None)
        written = (PUT(buffer, "null"), 1);
    else if (value == Py_True)
        written = (PUT(buffer, "true"), 1);
    else if (value == Py_False)
        written = (PUT(buffer, "false"), 1);
    else if (depth >= MAX_DEPTH)
        return 0;
    else if (type == &PyDict_Type)
        return put_object(buffer, value, depth);
    else if (type == &PyList_Type || type == &PyTuple_Type)
        return put_array(buffer, value, depth);
    else
        return 0;
    return written && reserve(buffer, ALWAYS_FREE);
}

#endif
