/* DAG-CBOR in its strict form, as `format/dagcbor.py` reads it.

   Every function returns NULL for bytes that are not in this form, with or without an exception (bytes that are not UTF-8,
   a CID that `Cid` refuses). The caller clears it; Python then reads the bytes again, and says what is wrong with them. */
#ifndef DAG_CBOR_H
#define DAG_CBOR_H

#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

/* Lists and maps inside one another: `format.dagcbor.MAX_DEPTH`. */
#define MAX_CBOR_DEPTH 32
/* The bytes of a link before its CID: tag 42, the head of 37 bytes, and the prefix 0. */
#define LINK_HEAD "\xd8\x2a\x58\x25\x00"
#define LINK_HEAD_SIZE 5
#define CID_SIZE 36

enum { UINT, NINT, BYTES, TEXT, LIST, MAP, TAG, SIMPLE };

typedef struct {
    const unsigned char *at, *end;
    PyObject *link_type; /* borrowed: makes a link of the bytes of a CID */
} Cbor;

static PyObject *read_item(Cbor *cbor, int depth);

static uint64_t big_endian(const unsigned char *bytes, int width)
{
    uint64_t number = 0;
    while (width--)
        number = number << 8 | *bytes++;
    return number;
}

/* Read a head; 0 if it is cut, or is not the shortest one for its number. */
static int read_head(Cbor *cbor, int *major, uint64_t *number)
{
    if (cbor->at >= cbor->end)
        return 0;
    int low = *cbor->at & 31;
    *major = *cbor->at++ >> 5;
    if (low < 24) {
        *number = (uint64_t)low;
        return 1;
    }
    int width = 1 << (low - 24);
    if (low > 27 || cbor->end - cbor->at < width)
        return 0;
    *number = big_endian(cbor->at, width);
    cbor->at += width;
    return *number >= (width == 1 ? 24 : (uint64_t)1 << 4 * width);
}

static PyObject *read_text(Cbor *cbor, uint64_t size)
{
    const char *text = (const char *)cbor->at;
    cbor->at += size;
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)size, NULL);
}

static PyObject *read_list(Cbor *cbor, uint64_t count, int depth)
{
    PyObject *items = PyList_New(0);
    while (items && count--) {
        PyObject *item = read_item(cbor, depth);
        if (!item || PyList_Append(items, item) < 0)
            Py_CLEAR(items);
        Py_XDECREF(item);
    }
    return items;
}

static PyObject *read_map(Cbor *cbor, uint64_t count, int depth)
{
    PyObject *items = PyDict_New();
    const unsigned char *before = NULL; /* the key before, with its head */
    size_t before_size = 0;
    while (items && count--) {
        const unsigned char *begin = cbor->at;
        int major;
        uint64_t number;
        PyObject *key = NULL, *item = NULL;
        if (read_head(cbor, &major, &number) && major == TEXT && number <= (uint64_t)(cbor->end - cbor->at)) {
            size_t size = (size_t)(cbor->at - begin) + (size_t)number;
            int order = before ? memcmp(before, begin, size < before_size ? size : before_size) : -1;
            if (order < 0) /* equal bytes are the same key: the head contains the length */
                key = read_text(cbor, number);
            before = begin;
            before_size = size;
        }
        if (key)
            item = read_item(cbor, depth);
        if (!item || PyDict_SetItem(items, key, item) < 0)
            Py_CLEAR(items);
        Py_XDECREF(key);
        Py_XDECREF(item);
    }
    return items;
}

/* Read a link, whose tag begins at `begin`. */
static PyObject *read_link(Cbor *cbor, const unsigned char *begin)
{
    if (cbor->end - begin < LINK_HEAD_SIZE + CID_SIZE || memcmp(begin, LINK_HEAD, LINK_HEAD_SIZE) != 0)
        return NULL;
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)begin + LINK_HEAD_SIZE, CID_SIZE);
    PyObject *link = bytes ? PyObject_CallFunctionObjArgs(cbor->link_type, bytes, NULL) : NULL;
    Py_XDECREF(bytes);
    cbor->at = begin + LINK_HEAD_SIZE + CID_SIZE;
    return link;
}

static PyObject *read_float(Cbor *cbor, const unsigned char *begin)
{
    if (cbor->end - begin < 9)
        return NULL;
    uint64_t bits = big_endian(begin + 1, 8);
    double value;
    memcpy(&value, &bits, sizeof value);
    cbor->at = begin + 9;
    return isfinite(value) ? PyFloat_FromDouble(value) : NULL;
}

static PyObject *read_simple(Cbor *cbor, const unsigned char *begin)
{
    PyObject *value = *begin == 0xF4 ? Py_False : *begin == 0xF5 ? Py_True : *begin == 0xF6 ? Py_None : NULL;
    Py_XINCREF(value);
    return value || *begin != 0xFB ? value : read_float(cbor, begin);
}

static PyObject *read_item(Cbor *cbor, int depth)
{
    const unsigned char *begin = cbor->at;
    int major;
    uint64_t number;
    if (begin < cbor->end && *begin >> 5 == SIMPLE) {
        cbor->at++;
        return read_simple(cbor, begin);
    }
    if (!read_head(cbor, &major, &number))
        return NULL;
    if (major == UINT)
        return PyLong_FromUnsignedLongLong(number);
    if (major == NINT)
        return number <= INT64_MAX ? PyLong_FromLongLong(-1 - (long long)number) : NULL; /* Python reads a larger one */
    if (major == TAG)
        return read_link(cbor, begin);
    if (number > (uint64_t)(cbor->end - cbor->at)) /* each item of a list takes a byte or more, too */
        return NULL;
    if (major == TEXT)
        return read_text(cbor, number);
    if (major == BYTES) {
        cbor->at += number;
        return PyBytes_FromStringAndSize((const char *)cbor->at - number, (Py_ssize_t)number);
    }
    if (depth >= MAX_CBOR_DEPTH)
        return NULL;
    return (major == LIST ? read_list : read_map)(cbor, number, depth + 1);
}

/* Read one value and nothing after it. */
static PyObject *read_cbor(const char *bytes, Py_ssize_t size, PyObject *link_type)
{
    Cbor cbor = {(const unsigned char *)bytes, (const unsigned char *)bytes + size, link_type};
    PyObject *value = read_item(&cbor, 0);
    if (value && cbor.at != cbor.end)
        Py_CLEAR(value);
    return value;
}

#endif
