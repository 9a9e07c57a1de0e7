/* The accelerator: makes a line in the segment of a plain LogRecord in one call; splits blocks of a segment for the
   keeper; reads and searches batches for readers.

   `Taker.take` does what `ingest.call_site` does in Python, and writes the same bytes. It raises nothing and decides
   nothing: a record, a setting or a state that it does not know goes to the function of Python that it was given.

   By default it keeps the GIL while it writes. A thread that gives the GIL up for a `write` of 1 µs waits 5 ms for it
   beside a thread that computes. A `write` that takes long shows that the disk stalls; then the GIL is given up at each
   `write` for a while, so that a stalled disk stalls no other thread more than once.

   It uses the limited API of Python 3.10: one binary serves all later Pythons. */
#define Py_LIMITED_API 0x030A0000
#define PY_SSIZE_T_CLEAN
#define _GNU_SOURCE /* memmem, memrchr */
#include <Python.h>

#ifndef __linux__
#error "the accelerator has been tried on Linux only; everywhere else the package does without it"
#endif

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "crc32.h"
#include "dag_cbor.h"
#include "files.h"
#include "json.h"
#include "search.h"
#include "state.h"

/* A `write` that takes longer, in seconds, shows that the disk stalls. */
#define LATE_S 0.025
/* Seconds for which the GIL is given up at each `write` after a late one; doubled by each further late one... */
#define SHORTEST_PAUSE_S 1.0
#define LONGEST_PAUSE_S 64.0
/* ...that comes within so many pauses. */
#define PAUSES_REMEMBERED 8
/* Nanoseconds between two tries to take the lock, and seconds after which Python waits for it. */
#define LOCK_PAUSE_NS 50000
#define LOCK_PATIENCE_S 0.1
/* Bytes of a line before its JSON: a checksum and a space. */
#define PREFIX 9
/* Stands for the process of a record that does not say it. */
#define NO_PID (-2)
/* Levels whose name in a line is kept. */
#define KNOWN_LEVELS 16

/* ---- the attributes of a LogRecord, in the order in which its `__init__` sets them */

enum {
    NAME, MSG, ARGS, LEVELNAME, LEVELNO, PATHNAME, FILENAME, MODULE, EXC_INFO, EXC_TEXT, STACK_INFO, LINENO, FUNCNAME,
    CREATED, MSECS, RELATIVE_CREATED, THREAD, THREAD_NAME, PROCESS_NAME, PROCESS, TASK_NAME, ATTRIBUTES
};
static const char *attribute_names[ATTRIBUTES] = {
    "name", "msg", "args", "levelname", "levelno", "pathname", "filename", "module", "exc_info", "exc_text",
    "stack_info", "lineno", "funcName", "created", "msecs", "relativeCreated", "thread", "threadName", "processName",
    "process", "taskName",
};
static PyObject *attributes[ATTRIBUTES];
/* Pythons before 3.12 have no `taskName`. */
static int attribute_count;

static PyObject *name_emit, *name_message, *no_wait, *zero;

/* ---- one taker for each handler */

typedef struct {
    PyObject *level; /* owned, so that no other object can have its address */
    long number;
    char json[40];
    int size;
} KnownLevel;

typedef struct {
    PyObject_HEAD
    PyObject *writer, *elsewhere, *handler_class, *emit, *filters, *record_class;
    PyObject *modules, *tracing_module, *own_threads, *required, *level_text, *fork_handled, *reserve, *with_trace;
    PyObject *lock, *acquire, *release; /* of the lock that the writer had at the last record */
    long long max_bytes, limit_step;
    double check_s;
    int keep_gil;
    long long second;
    char second_text[24];
    KnownLevel levels[KNOWN_LEVELS];
    int level_count;
} Taker;

static double monotonic(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Clear an exception, because Python then does the work again, and raises it itself if it must; -1 for KeyboardInterrupt
   and the like, which the program must get. */
static int clear_error(void)
{
    if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_Exception))
        return -1;
    PyErr_Clear();
    return 0;
}

/* Whether the call of a function without arguments returned something true; -1 for an error. */
static int is_true(PyObject *function)
{
    Py_INCREF(function); /* during a fork it is code of Python, and another thread may replace it meanwhile */
    PyObject *result = PyObject_CallNoArgs(function);
    Py_DECREF(function);
    if (!result)
        return -1;
    int answer = PyObject_IsTrue(result);
    Py_DECREF(result);
    return answer;
}

/* Whether every record must go the way of Python now: a filter, an overridden `emit`. */
static int is_off(Taker *taker, PyObject *record)
{
    if ((PyObject *)Py_TYPE(record) != taker->record_class || PyList_Size(taker->filters) != 0)
        return 1;
    PyObject *emit = PyObject_GetAttr(taker->handler_class, name_emit);
    if (!emit)
        return 1;
    Py_DECREF(emit);
    return emit != taker->emit;
}

/* Return the attributes of a record; of a program with OpenTelemetry, those that `ingest.tracing` makes of them. */
static PyObject *members_of(Taker *taker, PyObject *record)
{
    PyObject *members = PyObject_GenericGetDict(record, NULL);
    int traces = members ? PyDict_Contains(taker->modules, taker->tracing_module) : 0;
    if (!traces)
        return members;
    PyObject *traced = traces > 0 ? PyObject_CallFunctionObjArgs(taker->with_trace, members, NULL) : NULL;
    Py_DECREF(members);
    if (traced && !PyDict_CheckExact(traced))
        Py_CLEAR(traced);
    return traced;
}

/* Read the attributes of a record; 0 if they are not as LogRecord makes them, or the record is not plain. */
static int read_attributes(Taker *taker, PyObject *members, PyObject **values, Py_ssize_t *position)
{
    PyObject *key;
    *position = 0;
    for (int number = 0; number < attribute_count; number++)
        if (!PyDict_Next(members, position, &key, &values[number]) || key != attributes[number])
            return 0;
    if (values[EXC_INFO] != Py_None || values[EXC_TEXT] != Py_None || values[STACK_INFO] != Py_None)
        return 0;
    if (!PyUnicode_CheckExact(values[NAME]) || !PyUnicode_CheckExact(values[MSG]) || !PyFloat_CheckExact(values[CREATED])
        || !PyUnicode_CheckExact(values[LEVELNAME]) || !PyLong_CheckExact(values[LEVELNO]))
        return 0;
    if ((values[THREAD] != Py_None && !PyLong_CheckExact(values[THREAD]))
        || (values[PROCESS] != Py_None && !PyLong_CheckExact(values[PROCESS])))
        return 0;
    return PySet_Contains(taker->own_threads, values[THREAD]) == 0;
}

static int is_simple(PyObject *value)
{
    PyTypeObject *type = Py_TYPE(value);
    return type == &PyUnicode_Type || type == &PyLong_Type || type == &PyFloat_Type || type == &PyBool_Type
        || value == Py_None;
}

/* Return the message of a record, with its arguments; NULL if the way of Python must make it.

   An argument whose text the program's code makes is left to Python. That code may log or query a database, and must
   run once, also for a record that Python takes after all. */
static PyObject *message_of(PyObject *text, PyObject *args)
{
    Py_ssize_t size;
    const char *utf8 = PyUnicode_AsUTF8AndSize(text, &size);
    if (!utf8 || (size && *utf8 == '{'))
        return NULL;
    if (args == Py_None || (PyTuple_CheckExact(args) && PyTuple_Size(args) == 0)) {
        Py_INCREF(text);
        return text;
    }
    if (!PyTuple_CheckExact(args))
        return NULL;
    for (Py_ssize_t number = PyTuple_Size(args); number--;)
        if (!is_simple(PyTuple_GetItem(args, number)))
            return NULL;
    return PyUnicode_Format(text, args);
}

/* ---- the parts of a line */

static int put_time(Taker *taker, Buffer *buffer, double created)
{
    if (!(created >= 0 && created < 253402300799.0))
        return 0;
    double whole = floor(created);
    long long second = (long long)whole;
    int micros = (int)floor((created - whole) * 1e6 + 0.5);
    if (micros >= 1000000) {
        micros = 0;
        second++;
    }
    if (second != taker->second) {
        time_t moment = (time_t)second;
        struct tm tm;
        if ((long long)moment != second || !gmtime_r(&moment, &tm))
            return 0;
        char text[64];
        snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
                 tm.tm_hour, tm.tm_min, tm.tm_sec);
        memcpy(taker->second_text, text, sizeof taker->second_text);
        taker->second = second;
    }
    PUT(buffer, "{\"time\":\"");
    put(buffer, taker->second_text, 20);
    for (int digit = 5; digit >= 0; digit--, micros /= 10)
        buffer->at[digit] = (char)('0' + micros % 10);
    buffer->at += 6;
    PUT(buffer, "Z\"");
    return 1;
}

/* Ask Python, once for each pair of name and number, how a level stands in a line. */
static void learn_level(Taker *taker, PyObject *level, PyObject *number, long value)
{
    if (taker->level_count == KNOWN_LEVELS)
        return;
    Py_INCREF(level);
    PyObject *text = PyObject_CallFunctionObjArgs(taker->level_text, level, number, NULL);
    Buffer json;
    buffer_begin(&json);
    if (text && PyUnicode_CheckExact(text) && put_text(&json, text) && taker->level_count < KNOWN_LEVELS) {
        KnownLevel *known = &taker->levels[taker->level_count];
        size_t size = (size_t)(json.at - json.base);
        if (size <= sizeof known->json) {
            Py_INCREF(level);
            known->level = level;
            known->number = value;
            known->size = (int)size;
            memcpy(known->json, json.base, size);
            taker->level_count++;
        }
    }
    buffer_end(&json);
    Py_XDECREF(text);
    Py_DECREF(level);
}

/* Write the name of a level. The first record of a level is left to Python: other threads may change it meanwhile. */
static int put_level(Taker *taker, Buffer *buffer, PyObject *level, PyObject *number)
{
    int overflow;
    long value = PyLong_AsLongAndOverflow(number, &overflow);
    if (overflow)
        return 0;
    PUT(buffer, ",\"level\":");
    for (KnownLevel *known = taker->levels; known < taker->levels + taker->level_count; known++)
        if (known->level == level && known->number == value) {
            put(buffer, known->json, (size_t)known->size);
            return 1;
        }
    for (KnownLevel *known = taker->levels; known < taker->levels + taker->level_count; known++)
        if (known->number == value && PyUnicode_Compare(known->level, level) == 0) {
            put(buffer, known->json, (size_t)known->size);
            return 1; /* a formatter of another handler makes the same coloured name for each record */
        }
    learn_level(taker, level, number, value);
    return 0;
}

/* Whether a record has all fields that its event requires. */
static int is_complete(Taker *taker, PyObject *members, PyObject *event, int has_message)
{
    if (PyDict_Size(taker->required) == 0)
        return 1;
    PyObject *names = PyDict_GetItemWithError(taker->required, event);
    if (!names)
        return !PyErr_Occurred();
    if (!PyTuple_CheckExact(names))
        return 0;
    for (Py_ssize_t number = PyTuple_Size(names); number--;) {
        PyObject *name = PyTuple_GetItem(names, number);
        int is_message = PyUnicode_Compare(name, name_message) == 0;
        if (is_message ? !has_message : PyDict_Contains(members, name) != 1)
            return 0;
    }
    return 1;
}

/* Write the JSON of a record up to, and without, `pid` and `seq`; 0 if the way of Python must take the record.

   `*own_event` is the field `event`, if the caller knows that there is one. If this function finds it, it sets
   `*own_event` and returns 0: the event stands before the fields, so the caller begins again. */
static int put_record(Taker *taker, Buffer *buffer, PyObject *members, PyObject **values, Py_ssize_t position,
                      PyObject *message, PyObject **own_event)
{
    PyObject *key, *value, *event = *own_event ? *own_event : message;
    KeyKind kind;
    buffer->at = buffer->base + PREFIX;
    buffer->has_escape = 0;
    if (!put_time(taker, buffer, PyFloat_AsDouble(values[CREATED])))
        return 0;
    if (!put_level(taker, buffer, values[LEVELNAME], values[LEVELNO]))
        return 0;
    PUT(buffer, ",\"logger\":");
    if (!put_value(buffer, values[NAME], 0) || buffer->has_escape)
        return 0;
    PUT(buffer, ",\"event\":");
    if (!put_value(buffer, event, 0))
        return 0;
    while (PyDict_Next(members, &position, &key, &value)) {
        Py_ssize_t start = buffer->at - buffer->base;
        *buffer->at++ = ',';
        if (!put_key(buffer, key, &kind) || kind == REFUSED)
            return 0;
        if (kind == FIELD) {
            if (!put_value(buffer, value, 0))
                return 0;
            continue;
        }
        buffer->at = buffer->base + start;
        if (kind == LEFT_OUT && values[ARGS] == Py_None)
            return 0; /* a QueueHandler may have put a traceback into the message */
        if (kind == EVENT && !*own_event) {
            *own_event = value;
            return 0;
        }
    }
    if (*own_event) {
        PUT(buffer, ",\"message\":");
        if (!put_value(buffer, message, 0))
            return 0;
    }
    return is_complete(taker, members, event, *own_event != NULL);
}

/* Write the JSON of a record whose event is its message or its field `event`; 0 for one left to Python. */
static int put_plain(Taker *taker, Buffer *buffer, PyObject *members, PyObject **values, Py_ssize_t position,
                     PyObject *message)
{
    PyObject *own_event = NULL;
    if (put_record(taker, buffer, members, values, position, message, &own_event))
        return 1;
    if (!own_event || !PyUnicode_CheckExact(own_event) || PyUnicode_Compare(own_event, message) == 0)
        return 0;
    return put_record(taker, buffer, members, values, position, message, &own_event);
}

/* ---- the append */

/* Use the lock that the writer has now; after a fork it is another one. */
static int use_lock(Taker *taker, Writer *writer)
{
    if (taker->lock == writer->lock)
        return 1;
    PyObject *lock = writer->lock, *acquire, *release;
    if (!lock)
        return 0;
    acquire = PyObject_GetAttrString(lock, "acquire");
    release = PyObject_GetAttrString(lock, "release");
    if (!acquire || !release) {
        Py_XDECREF(acquire);
        Py_XDECREF(release);
        return 0;
    }
    PyObject *before[] = {taker->lock, taker->acquire, taker->release};
    Py_INCREF(lock);
    taker->lock = lock;
    taker->acquire = acquire;
    taker->release = release;
    for (int number = 0; number < 3; number++)
        Py_XDECREF(before[number]);
    return 1;
}

/* What late writes have shown, for all handlers of the process: most have their homes on one disk. */
static struct { double stalled_until, pause, last_late; } stalls = {0, SHORTEST_PAUSE_S, -1e18};

/* Whether the GIL is kept at a call of the system that began at this moment: not while the disk stalls. */
static int keeps_gil(Taker *taker, double began)
{
    return taker->keep_gil && began >= stalls.stalled_until;
}

/* Get the status of an open file, or of the file at a path. */
static int look(Taker *taker, const char *path, int descriptor, struct stat *status, double began)
{
    if (keeps_gil(taker, began))
        return path ? stat(path, status) : fstat(descriptor, status);
    int failed;
    Py_BEGIN_ALLOW_THREADS
    failed = path ? stat(path, status) : fstat(descriptor, status);
    Py_END_ALLOW_THREADS
    return failed;
}

/* Move the limit of a segment that has reached it, as `WriterSegments.may_grow` does. */
static int may_grow(Taker *taker, Segments *segments, Segment *segment, double now)
{
    struct stat status;
    if (segment->size >= segments->full_size
        || (look(taker, PyBytes_AsString(taker->reserve), -1, &status, now) == 0 && S_ISREG(status.st_mode)
            && status.st_size == 0))
        return 0;
    long long limit = segment->size + taker->limit_step;
    segments->limit = limit < segments->full_size ? limit : segments->full_size;
    return 1;
}

/* Whether the segment is still ours, checked as seldom as `WriterSegments.is_ours` does, which looks at the home, too. */
static int is_ours(Taker *taker, Segments *segments, Segment *segment, double now)
{
    if (now < segments->check_at)
        return 1;
    struct stat status;
    if (now >= segments->check_home_at || look(taker, NULL, segment->descriptor, &status, now) != 0)
        return 0;
    if (status.st_dev != segment->device || status.st_ino != segment->inode || status.st_nlink == 0)
        return 0;
    segments->check_at = now + taker->check_s;
    segments->checked_seq = segments->seq;
    segments->checked_size = segment->size;
    return 1;
}

/* Note how long a `write` took: after a late one, give the GIL up for a while. The GIL is held. */
static void note_duration(double began, double ended)
{
    if (ended - began < LATE_S)
        return;
    int again = ended - stalls.last_late < stalls.pause * PAUSES_REMEMBERED;
    stalls.pause = !again ? SHORTEST_PAUSE_S : fmin(stalls.pause * 2, LONGEST_PAUSE_S);
    stalls.last_late = ended;
    stalls.stalled_until = ended + stalls.pause;
}

/* Write a line, with the GIL kept unless the disk stalls. */
static ssize_t write_line(Taker *taker, int descriptor, const char *line, size_t size, double began)
{
    ssize_t written;
    double ended;
    int error;
    if (keeps_gil(taker, began)) {
        written = write(descriptor, line, size);
        error = errno;
        ended = monotonic();
    } else {
        Py_BEGIN_ALLOW_THREADS
        written = write(descriptor, line, size);
        error = errno;
        ended = monotonic();
        Py_END_ALLOW_THREADS
    }
    note_duration(began, ended);
    errno = error;
    return written;
}

/* Append a record to a segment that has room. 1: done; 0: the way of Python must take it; -1: an exception. */
static int append_to(Taker *taker, Writer *writer, Segments *segments, Segment *segment, Buffer *buffer)
{
    double now = monotonic();
    if (segment->size >= segments->limit && !may_grow(taker, segments, segment, now))
        return 0;
    if (!is_ours(taker, segments, segment, now))
        return 0;
    long long seq = segments->seq + 1;
    PUT(buffer, ",\"pid\":");
    buffer->at = put_digits(buffer->at, (unsigned long long)segments->pid);
    PUT(buffer, ",\"seq\":");
    buffer->at = put_digits(buffer->at, (unsigned long long)seq);
    *buffer->at++ = '}';
    size_t json_size = (size_t)(buffer->at - buffer->base) - PREFIX, size = json_size + PREFIX + 1;
    if ((long long)json_size > taker->max_bytes)
        return 0;
    put_crc32(buffer->base, crc32_of((unsigned char *)buffer->base + PREFIX, json_size));
    buffer->base[PREFIX - 1] = ' ';
    *buffer->at = '\n';
    segments->seq = seq;
    ssize_t written = write_line(taker, segment->descriptor, buffer->base, size, now);
    int done = written == (ssize_t)size;
    if (written > 0)
        segment->size += written;
    if (!done) {
        int error = written < 0 ? errno : ENOSPC;
        if (error == EINTR) { /* nothing was written; Python lets the handlers of signals run, and writes */
            segments->seq = seq - 1;
            return 0;
        }
        PyObject *is_taken = PyObject_CallMethod((PyObject *)writer, "handle_failed_line", "OOy#Lni", segments, segment,
                                                 buffer->base, (Py_ssize_t)size, seq, written < 0 ? 0 : written, error);
        done = is_taken ? PyObject_IsTrue(is_taken) : -1;
        Py_XDECREF(is_taken);
    }
    return done;
}

/* Append a record under the lock. 1: done; 0: the way of Python must take it; -1: an exception for the program. */
static int append_locked(Taker *taker, Writer *writer, Buffer *buffer, long long pid)
{
    Segments *segments = (Segments *)writer->segments;
    if (!segments || !PyObject_TypeCheck((PyObject *)segments, segments_type) || writer->after_append != Py_None)
        return 0;
    Segment *segment = (Segment *)segments->current;
    if (!segment || !PyObject_TypeCheck((PyObject *)segment, segment_type))
        return 0;
    if (pid != NO_PID && pid != segments->pid)
        return 0; /* the record of another process, through a queue */
    Py_INCREF(segments);
    Py_INCREF(segment);
    int done = append_to(taker, writer, segments, segment, buffer);
    Py_DECREF(segment);
    Py_DECREF(segments);
    return done;
}

/* Take the lock, without ever waiting for the GIL while it is held. 1: it is held; 0: left to Python; -1: an exception.

   A thread that waits inside the lock for the GIL makes the next thread find the lock held, give the GIL up, and wait
   inside the lock, too: all threads would go on like this. So a held lock is tried again, and not waited for. */
static int take_lock(Taker *taker, PyObject *acquire)
{
    static const struct timespec pause = {0, LOCK_PAUSE_NS};
    for (double until = 0, now = 0; now <= until; now = monotonic()) {
        PyObject *acquired = PyObject_Call(acquire, no_wait, NULL);
        if (!acquired)
            return -1;
        int has_lock = PyObject_IsTrue(acquired);
        Py_DECREF(acquired);
        if (has_lock)
            return 1;
        Py_BEGIN_ALLOW_THREADS
        nanosleep(&pause, NULL);
        Py_END_ALLOW_THREADS
        if (PyErr_CheckSignals() < 0)
            return -1;
        if (!until)
            until = monotonic() + LOCK_PATIENCE_S;
    }
    return 0;
}

/* Append a record as `Writer.append` does. */
static int append(Taker *taker, Buffer *buffer, long long pid)
{
    Writer *writer = (Writer *)taker->writer;
    PyObject *handled = PyObject_GetItem(taker->fork_handled, zero);
    if (!handled)
        return 0;
    int is_handled = PyObject_IsTrue(handled);
    Py_DECREF(handled);
    if (is_handled != 1 || !writer->is_inside || is_true(writer->is_inside) != 0 || !use_lock(taker, writer))
        return 0;
    PyObject *acquire = taker->acquire, *release = taker->release;
    Py_INCREF(acquire); /* a signal handler may run meanwhile, and fork: then the writer has another lock */
    Py_INCREF(release);
    int done = take_lock(taker, acquire);
    if (done > 0) {
        PyObject *type, *value, *trace;
        done = taker->lock == writer->lock ? append_locked(taker, writer, buffer, pid) : 0;
        PyErr_Fetch(&type, &value, &trace);
        PyObject *released = PyObject_CallNoArgs(release);
        Py_XDECREF(released);
        if (!released)
            PyErr_Clear();
        PyErr_Restore(type, value, trace);
    }
    Py_DECREF(acquire);
    Py_DECREF(release);
    return done;
}

/* Take a record: 1: done; 0: the way of Python must take it; -1: an exception for the program. */
static int try_record(Taker *taker, PyObject *record)
{
    PyObject *values[ATTRIBUTES], *message, *members;
    Py_ssize_t position;
    int done = 0;
    if (is_off(taker, record))
        return clear_error();
    members = members_of(taker, record);
    if (!members)
        return clear_error();
    if (!read_attributes(taker, members, values, &position)
        || !(message = message_of(values[MSG], values[ARGS]))) {
        Py_DECREF(members);
        return clear_error();
    }
    Buffer buffer;
    buffer_begin(&buffer);
    if (put_plain(taker, &buffer, members, values, position, message)) {
        int overflow;
        long long pid = values[PROCESS] == Py_None ? NO_PID : PyLong_AsLongLongAndOverflow(values[PROCESS], &overflow);
        if (pid > 0 || values[PROCESS] == Py_None)
            done = append(taker, &buffer, pid);
    }
    buffer_end(&buffer);
    Py_DECREF(message);
    Py_DECREF(members);
    return done > 0 ? 1 : done < 0 ? -1 : clear_error();
}

static PyObject *taker_take(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    Taker *taker = (Taker *)self;
    Py_ssize_t named = names ? PyTuple_Size(names) : 0;
    if (count + named != 1 || (named && PyUnicode_CompareWithASCIIString(PyTuple_GetItem(names, 0), "record") != 0)) {
        PyErr_SetString(PyExc_TypeError, "handle() takes one argument, the record");
        return NULL;
    }
    PyObject *record = arguments[0];
    int done = taker->writer ? try_record(taker, record) : 0;
    if (done < 0)
        return NULL;
    if (!done && taker->elsewhere)
        return PyObject_CallFunctionObjArgs(taker->elsewhere, record, NULL);
    Py_INCREF(record); /* also after the interpreter has cleared this object at its end */
    return record;
}

static int taker_init(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {
        "writer", "elsewhere", "handler_class", "filters", "record_class", "modules", "tracing_module", "own_threads",
        "required", "level_text", "fork_handled", "reserve", "with_trace", "limit_step", "max_bytes", "check_s", "keep_gil", NULL,
    };
    Taker *taker = (Taker *)self;
    PyObject *given[13];
    long long max_bytes, limit_step;
    double check_s;
    int keep_gil;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!OOO!OO!UO!O!OOSOLLdp", names, writer_type, &given[0], &given[1],
                                     &given[2], &PyList_Type, &given[3], &given[4], &PyDict_Type, &given[5], &given[6],
                                     &PySet_Type, &given[7], &PyDict_Type, &given[8], &given[9], &given[10], &given[11],
                                     &given[12], &limit_step, &max_bytes, &check_s, &keep_gil))
        return -1;
    if (taker->writer) {
        PyErr_SetString(PyExc_TypeError, "a Taker is set up once");
        return -1;
    }
    PyObject *emit = PyObject_GetAttr(given[2], name_emit);
    if (!emit)
        return -1;
    for (int number = 0; number < 13; number++)
        Py_INCREF(given[number]);
    taker->writer = given[0];
    taker->elsewhere = given[1];
    taker->handler_class = given[2];
    taker->emit = emit;
    taker->filters = given[3];
    taker->record_class = given[4];
    taker->modules = given[5];
    taker->tracing_module = given[6];
    taker->own_threads = given[7];
    taker->required = given[8];
    taker->level_text = given[9];
    taker->fork_handled = given[10];
    taker->reserve = given[11];
    taker->with_trace = given[12];
    taker->limit_step = limit_step;
    taker->max_bytes = max_bytes;
    taker->check_s = check_s;
    taker->keep_gil = keep_gil;
    taker->second = -1;
    return 0;
}

/* The objects that a taker owns, beside the names of levels. */
#define OWNED(taker) \
    {&(taker)->writer, &(taker)->elsewhere, &(taker)->handler_class, &(taker)->emit, &(taker)->filters, \
     &(taker)->record_class, &(taker)->modules, &(taker)->tracing_module, &(taker)->own_threads, &(taker)->required, \
     &(taker)->level_text, &(taker)->fork_handled, &(taker)->reserve, &(taker)->with_trace, &(taker)->lock, &(taker)->acquire, &(taker)->release}

static int taker_traverse(PyObject *self, visitproc visit, void *arg)
{
    Taker *taker = (Taker *)self;
    PyObject **owned[] = OWNED(taker);
    Py_VISIT(Py_TYPE(self));
    for (size_t number = 0; number < sizeof owned / sizeof *owned; number++)
        Py_VISIT(*owned[number]);
    return 0;
}

static int taker_clear(PyObject *self)
{
    Taker *taker = (Taker *)self;
    PyObject **owned[] = OWNED(taker);
    for (size_t number = 0; number < sizeof owned / sizeof *owned; number++)
        Py_CLEAR(*owned[number]);
    while (taker->level_count) {
        PyObject *level = taker->levels[--taker->level_count].level;
        Py_DECREF(level);
    }
    return 0;
}

static void taker_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    taker_clear(self);
    free_instance(self);
}

static PyMethodDef taker_methods[] = {
    {"take", (PyCFunction)(void (*)(void))taker_take, METH_FASTCALL | METH_KEYWORDS,
     "take($self, /, record)\n--\n\nMake a LogRecord durable, and return what `Handler.handle` returns."},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot taker_slots[] = {
    {Py_tp_doc, "Takes the plain records of one handler; see `ingest.fast_path`."},
    {Py_tp_init, taker_init},
    {Py_tp_traverse, taker_traverse},
    {Py_tp_clear, taker_clear},
    {Py_tp_dealloc, taker_dealloc},
    {Py_tp_methods, taker_methods},
    {Py_tp_new, PyType_GenericNew},
    {0, NULL},
};
static PyType_Spec taker_spec = {
    "ipfs_log_handlers.accelerator._accelerator.Taker", sizeof(Taker), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    taker_slots,
};

/* ---- for the keeper */

/* Split off the valid record lines at the start of a block, as `format.line` does. */
static PyObject *split_records(PyObject *module, PyObject *block)
{
    char *bytes;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(block, &bytes, &size) < 0)
        return NULL;
    PyObject *jsons = PyList_New(0);
    if (!jsons)
        return NULL;
    const char *line = bytes, *end = bytes + size;
    while (line < end) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop || stop - line < PREFIX + 2 || line[8] != ' ' || line[9] != '{' || stop[-1] != '}')
            break;
        size_t json_size = (size_t)(stop - line) - PREFIX;
        char checksum[8];
        put_crc32(checksum, crc32_of((const unsigned char *)line + PREFIX, json_size));
        if (memcmp(checksum, line, 8) != 0)
            break;
        PyObject *json = PyBytes_FromStringAndSize(line + PREFIX, (Py_ssize_t)json_size);
        if (!json || PyList_Append(jsons, json) < 0) {
            Py_XDECREF(json);
            Py_DECREF(jsons);
            return NULL;
        }
        Py_DECREF(json);
        line = stop + 1;
    }
    return Py_BuildValue("(Nn)", jsons, (Py_ssize_t)(line - bytes));
}

/* ---- for readers */

/* Read a block of DAG-CBOR, as `format.dagcbor` does; `NotImplemented` if Python must read it, or refuse it. */
static PyObject *read_dag_cbor(PyObject *module, PyObject *arguments)
{
    char *bytes;
    Py_ssize_t size;
    PyObject *link_type;
    if (!PyArg_ParseTuple(arguments, "y#O", &bytes, &size, &link_type))
        return NULL;
    PyObject *value = read_cbor(bytes, size, link_type);
    if (value || clear_error() < 0)
        return value;
    Py_INCREF(Py_NotImplemented);
    return Py_NotImplemented;
}

/* Names below a home that a path has at most; Python reads a longer one. */
#define MAX_NAMES 16

/* Encode the root and the names below it; 0 for too many names or none, or for one that no file can have. */
static int encode_names(PyObject *root, PyObject *below, PyObject **encoded, const char **names)
{
    Py_ssize_t count = PyList_Size(below);
    if (count < 1 || count > MAX_NAMES)
        return 0;
    for (Py_ssize_t number = 0; number <= count; number++) {
        PyObject *name = number ? PyList_GetItem(below, number - 1) : root;
        if (!PyUnicode_FSConverter(name, &encoded[number]))
            return 0;
        names[number] = PyBytes_AsString(encoded[number]);
    }
    return 1;
}

/* Read bytes of a file below a home, as `home.paths.read_part` does; `None` if Python must read it, or refuse it, `False`
   if there is no such file. */
static PyObject *read_below(PyObject *module, PyObject *arguments)
{
    PyObject *root, *below, *encoded[MAX_NAMES + 1] = {NULL}, *data = NULL;
    const char *names[MAX_NAMES + 1];
    long long offset;
    Py_ssize_t size, have;
    int is_missing = 0;
    if (!PyArg_ParseTuple(arguments, "O!O!Ln", &PyUnicode_Type, &root, &PyList_Type, &below, &offset, &size))
        return NULL;
    if (encode_names(root, below, encoded, names) && offset >= 0 && size >= 0) {
        size_t count = (size_t)PyList_Size(below);
        char *bytes;
        Py_BEGIN_ALLOW_THREADS
        bytes = read_file(names[0], names + 1, count, (off_t)offset, (size_t)size, &have);
        is_missing = !bytes && errno == ENOENT;
        Py_END_ALLOW_THREADS
        data = bytes ? PyBytes_FromStringAndSize(bytes, have) : NULL;
        free(bytes);
    }
    for (int number = 0; number <= MAX_NAMES; number++)
        Py_XDECREF(encoded[number]);
    if (data || clear_error() < 0)
        return data;
    return Py_BuildValue("O", is_missing ? Py_False : Py_None);
}

/* Return the lines that were found, as pairs of offsets in the text. */
static PyObject *offsets_of(const Lines *lines, const char *text)
{
    PyObject *offsets = PyList_New(0);
    for (size_t number = 0; offsets && number < lines->count; number++) {
        const Line *line = &lines->items[number];
        PyObject *pair = Py_BuildValue("(nn)", (Py_ssize_t)(line->begin - text), (Py_ssize_t)(line->end - text));
        if (!pair || PyList_Append(offsets, pair) < 0)
            Py_CLEAR(offsets);
        Py_XDECREF(pair);
    }
    return offsets;
}

static int is_pair(PyObject *pair)
{
    if (!PyTuple_Check(pair))
        PyErr_SetString(PyExc_TypeError, "a clue is a pair of a word and bounds, and bounds are a pair of numbers");
    return PyTuple_Check(pair);
}

/* Read a clue: `(word, None)`, or `(word, (least, most))`. */
static int read_clue(PyObject *pair, Clue *clue)
{
    PyObject *bounds;
    Py_ssize_t size;
    if (!is_pair(pair) || !PyArg_ParseTuple(pair, "y#O", &clue->word, &size, &bounds))
        return 0;
    if (size == 0) {
        PyErr_SetString(PyExc_ValueError, "an empty word is in every line");
        return 0;
    }
    clue->size = (size_t)size;
    clue->has_bounds = bounds != Py_None;
    return !clue->has_bounds || (is_pair(bounds) && PyArg_ParseTuple(bounds, "dd", &clue->least, &clue->most));
}

/* Find the lines of a text that meet one of some clues or escape a character, as `query.clues` does. */
static PyObject *lines_with(PyObject *module, PyObject *arguments)
{
    char *text;
    Py_ssize_t size;
    PyObject *pairs;
    if (!PyArg_ParseTuple(arguments, "y#O!", &text, &size, &PyTuple_Type, &pairs))
        return NULL;
    Lines lines = {.is_sorted = 1};
    int is_ok = PyTuple_Size(pairs) > 0 || add_escaping_lines(&lines, text, text + size);
    for (Py_ssize_t number = 0; is_ok && number < PyTuple_Size(pairs); number++) {
        Clue clue;
        is_ok = read_clue(PyTuple_GetItem(pairs, number), &clue) && PyErr_CheckSignals() == 0;
        if (is_ok) {
            Py_BEGIN_ALLOW_THREADS
            is_ok = number > 0 || add_escaping_lines(&lines, text, text + size);
            is_ok = is_ok && find_more_lines(&lines, text, (size_t)size, &clue);
            Py_END_ALLOW_THREADS
        }
    }
    sort_lines(&lines);
    PyObject *offsets = is_ok ? offsets_of(&lines, text) : NULL;
    free(lines.items);
    return is_ok || PyErr_Occurred() ? offsets : PyErr_NoMemory();
}

/* ---- the module */

static PyMethodDef functions[] = {
    {"split_records", split_records, METH_O, "Split off the valid record lines at the start of a block."},
    {"read_dag_cbor", read_dag_cbor, METH_VARARGS, "Read a block of DAG-CBOR, or return NotImplemented."},
    {"read_below", read_below, METH_VARARGS,
     "Read bytes of a file below a home; None: Python must read it; False: it is missing."},
    {"lines_with", lines_with, METH_VARARGS, "Find the lines of a text that meet a clue or escape a character."},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_accelerator", "Take plain records in C, and read batches.", -1, functions,
    NULL, NULL, NULL, NULL,
};

/* Learn the attributes of a LogRecord of this Python. */
static int learn_attributes(void)
{
    PyObject *logging = PyImport_ImportModule("logging");
    PyObject *record = logging ? PyObject_CallMethod(logging, "LogRecord", "sisis()O", "", 0, "", 0, "", Py_None) : NULL;
    PyObject *members = record ? PyObject_GenericGetDict(record, NULL) : NULL;
    Py_XDECREF(record);
    Py_XDECREF(logging);
    if (!members)
        return 0;
    PyObject *key, *value;
    Py_ssize_t position = 0;
    int known = 1;
    for (int number = 0; number < ATTRIBUTES; number++)
        if (!(attributes[number] = PyUnicode_InternFromString(attribute_names[number])))
            known = 0;
    for (attribute_count = 0; known && PyDict_Next(members, &position, &key, &value); attribute_count++)
        known = attribute_count < ATTRIBUTES && key == attributes[attribute_count];
    Py_DECREF(members);
    if ((!known || attribute_count < TASK_NAME) && !PyErr_Occurred())
        PyErr_SetString(PyExc_ImportError, "a LogRecord of this Python has other attributes");
    return !PyErr_Occurred();
}

static PyTypeObject *add_type(PyObject *module, const char *name, PyType_Spec *spec)
{
    PyObject *type = PyType_FromSpec(spec);
    if (!type)
        return NULL;
    Py_INCREF(type);
    if (PyModule_AddObject(module, name, type) < 0) {
        Py_DECREF(type);
        Py_DECREF(type);
        return NULL;
    }
    return (PyTypeObject *)type;
}

PyMODINIT_FUNC PyInit__accelerator(void)
{
    crc32_begin();
    json_begin();
    name_emit = PyUnicode_InternFromString("emit");
    name_message = PyUnicode_InternFromString("message");
    zero = PyLong_FromLong(0);
    no_wait = Py_BuildValue("(O)", Py_False);
    if (!name_emit || !name_message || !zero || !no_wait || !learn_attributes())
        return NULL;
    PyObject *module = PyModule_Create(&definition);
    if (!module)
        return NULL;
    segment_type = add_type(module, "SegmentBase", &segment_spec);
    segments_type = add_type(module, "WriterSegmentsBase", &segments_spec);
    writer_type = add_type(module, "WriterBase", &writer_spec);
    if (!segment_type || !segments_type || !writer_type || !add_type(module, "Taker", &taker_spec)) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
