/* The state of a writer: base classes of `spool.writer.Writer`, `spool.writer_segments.WriterSegments` and
   `home.segments.Segment`. Python and C read and change the same members, so no number is kept twice. */
#ifndef STATE_H
#define STATE_H

#include <Python.h>
#include <stddef.h>
#include <structmember.h>

typedef struct {
    PyObject_HEAD
    int descriptor;
    long long size;
    unsigned long long device, inode;
} Segment;

typedef struct {
    PyObject_HEAD
    PyObject *current;
    long long seq, pid, limit, full_size, checked_seq, checked_size;
    double check_at, check_home_at;
} Segments;

typedef struct {
    PyObject_HEAD
    PyObject *lock, *is_inside, *segments, *after_append;
} Writer;

static PyTypeObject *segment_type, *segments_type, *writer_type;

/* Free an instance of a heap type. An instance of a class of Python that inherits from it ends here, too. */
static void free_instance(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc free_memory = (freefunc)PyType_GetSlot(type, Py_tp_free);
    free_memory(self);
    Py_DECREF(type);
}

static PyMemberDef segment_members[] = {
    {"descriptor", T_INT, offsetof(Segment, descriptor), 0, NULL},
    {"size", T_LONGLONG, offsetof(Segment, size), 0, NULL},
    {"device", T_ULONGLONG, offsetof(Segment, device), 0, NULL},
    {"inode", T_ULONGLONG, offsetof(Segment, inode), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};
static PyType_Slot segment_slots[] = {
    {Py_tp_doc, "Members of `home.segments.Segment` that the accelerator uses."},
    {Py_tp_dealloc, free_instance},
    {Py_tp_members, segment_members},
    {Py_tp_new, PyType_GenericNew},
    {0, NULL},
};
static PyType_Spec segment_spec = {
    "ipfs_log_handlers.accelerator._accelerator.SegmentBase", sizeof(Segment), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, segment_slots,
};

static int segments_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((Segments *)self)->current);
    return 0;
}

static int segments_clear(PyObject *self)
{
    Py_CLEAR(((Segments *)self)->current);
    return 0;
}

static void segments_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    segments_clear(self);
    free_instance(self);
}

static PyMemberDef segments_members[] = {
    {"current", T_OBJECT_EX, offsetof(Segments, current), 0, NULL},
    {"seq", T_LONGLONG, offsetof(Segments, seq), 0, NULL},
    {"pid", T_LONGLONG, offsetof(Segments, pid), 0, NULL},
    {"limit", T_LONGLONG, offsetof(Segments, limit), 0, NULL},
    {"full_size", T_LONGLONG, offsetof(Segments, full_size), 0, NULL},
    {"check_at", T_DOUBLE, offsetof(Segments, check_at), 0, NULL},
    {"check_home_at", T_DOUBLE, offsetof(Segments, check_home_at), 0, NULL},
    {"checked_seq", T_LONGLONG, offsetof(Segments, checked_seq), 0, NULL},
    {"checked_size", T_LONGLONG, offsetof(Segments, checked_size), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};
static PyType_Slot segments_slots[] = {
    {Py_tp_doc, "Members of `spool.writer_segments.WriterSegments` that the accelerator uses."},
    {Py_tp_traverse, segments_traverse},
    {Py_tp_clear, segments_clear},
    {Py_tp_dealloc, segments_dealloc},
    {Py_tp_members, segments_members},
    {Py_tp_new, PyType_GenericNew},
    {0, NULL},
};
static PyType_Spec segments_spec = {
    "ipfs_log_handlers.accelerator._accelerator.WriterSegmentsBase", sizeof(Segments), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, segments_slots,
};

static int writer_traverse(PyObject *self, visitproc visit, void *arg)
{
    Writer *writer = (Writer *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(writer->lock);
    Py_VISIT(writer->is_inside);
    Py_VISIT(writer->segments);
    Py_VISIT(writer->after_append);
    return 0;
}

static int writer_clear(PyObject *self)
{
    Writer *writer = (Writer *)self;
    Py_CLEAR(writer->lock);
    Py_CLEAR(writer->is_inside);
    Py_CLEAR(writer->segments);
    Py_CLEAR(writer->after_append);
    return 0;
}

static void writer_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    writer_clear(self);
    free_instance(self);
}

static PyMemberDef writer_members[] = {
    {"lock", T_OBJECT_EX, offsetof(Writer, lock), 0, NULL},
    {"is_inside", T_OBJECT_EX, offsetof(Writer, is_inside), 0, NULL},
    {"segments", T_OBJECT_EX, offsetof(Writer, segments), 0, NULL},
    {"after_append", T_OBJECT_EX, offsetof(Writer, after_append), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};
static PyType_Slot writer_slots[] = {
    {Py_tp_doc, "Members of `spool.writer.Writer` that the accelerator uses."},
    {Py_tp_traverse, writer_traverse},
    {Py_tp_clear, writer_clear},
    {Py_tp_dealloc, writer_dealloc},
    {Py_tp_members, writer_members},
    {Py_tp_new, PyType_GenericNew},
    {0, NULL},
};
static PyType_Spec writer_spec = {
    "ipfs_log_handlers.accelerator._accelerator.WriterBase", sizeof(Writer), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, writer_slots,
};

#endif
