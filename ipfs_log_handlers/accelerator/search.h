/* Find the lines of a text that can match a condition, as `query/clues.py` does.

   Nothing here uses Python: the search runs without the GIL. */
#ifndef SEARCH_H
#define SEARCH_H

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Characters of a number up to which a double holds its digits exactly. */
#define MAX_EXACT_CHARACTERS 15
/* Largest power of ten that a double holds exactly. */
#define MAX_EXACT_POWER 22

typedef struct {
    const char *word;
    size_t size;
    int has_bounds; /* whether a number between `least` and `most` must follow the word */
    double least, most;
} Clue;

typedef struct {
    const char *begin, *end; /* `end`: its LF, or the end of the text */
} Line;

typedef struct {
    Line *items;
    size_t count, capacity, unique; /* `unique`: the count after duplicates were removed for the last time */
    int is_sorted;
} Lines;

static int add_line(Lines *lines, const char *begin, const char *end)
{
    if (lines->count == lines->capacity) {
        size_t capacity = lines->capacity ? lines->capacity * 2 : 64;
        Line *grown = realloc(lines->items, capacity * sizeof *grown);
        if (!grown)
            return 0;
        lines->items = grown;
        lines->capacity = capacity;
    }
    if (lines->count && lines->items[lines->count - 1].begin >= begin)
        lines->is_sorted = 0;
    lines->items[lines->count++] = (Line){begin, end};
    return 1;
}

/* Add the line around a place; return its end, NULL without memory. */
static const char *add_line_around(Lines *lines, const char *text, const char *at, const char *text_end)
{
    const char *newline = memrchr(text, '\n', (size_t)(at - text)), *begin = newline ? newline + 1 : text;
    const char *end = memchr(at, '\n', (size_t)(text_end - at));
    if (!end)
        end = text_end;
    return add_line(lines, begin, end) ? end : NULL;
}

static int is_space(char character)
{
    return character == ' ' || (character >= '\t' && character <= '\r');
}

static int is_digit(char character)
{
    return character >= '0' && character <= '9';
}

/* Read the number of a token; 0 for one that a double does not represent exactly, or that is no number. */
static int number_of(const char *at, const char *end, double *number)
{
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    double sign = 1, digits = 0;
    int power = 0, has_digits = 0;
    if (end - at > MAX_EXACT_CHARACTERS)
        return 0;
    if (at < end && (*at == '-' || *at == '+'))
        sign = *at++ == '-' ? -1 : 1;
    for (; at < end && is_digit(*at); at++, has_digits = 1)
        digits = digits * 10 + (*at - '0');
    if (at < end && *at == '.')
        for (at++; at < end && is_digit(*at); at++, has_digits = 1, power--)
            digits = digits * 10 + (*at - '0');
    if (has_digits && at < end && (*at == 'e' || *at == 'E')) {
        int exponent = 0, exponent_sign = 1;
        if (++at < end && (*at == '-' || *at == '+'))
            exponent_sign = *at++ == '-' ? -1 : 1;
        for (has_digits = 0; at < end && is_digit(*at); at++, has_digits = 1)
            exponent = exponent < 10000 ? exponent * 10 + (*at - '0') : exponent;
        power += exponent_sign * exponent;
    }
    if (!has_digits || at != end || power > MAX_EXACT_POWER || power < -MAX_EXACT_POWER)
        return 0;
    *number = sign * (power < 0 ? digits / powers[-power] : digits * powers[power]);
    return 1;
}

/* Whether a number that can be within the bounds of a clue follows its word. */
static int is_number_within(const Clue *clue, const char *at, const char *end)
{
    while (at < end && is_space(*at))
        at++;
    if (at == end || *at++ != ':')
        return 0;
    while (at < end && is_space(*at))
        at++;
    if (at < end && *at == '"')
        at++;
    while (at < end && is_space(*at))
        at++;
    const char *token = at;
    while (at < end && (is_digit(*at) || *at == '-' || *at == '+' || *at == '.' || (at > token && (*at | 32) == 'e')))
        at++;
    double number;
    return at > token && (!number_of(token, at, &number) || (number >= clue->least && number <= clue->most));
}

/* Add the lines in which a clue holds; 0 without memory. */
static int add_lines_with(Lines *lines, const char *text, const char *end, const Clue *clue)
{
    const char *at = text;
    while (at < end && (at = memmem(at, (size_t)(end - at), clue->word, clue->size)) != NULL) {
        if (clue->has_bounds && !is_number_within(clue, at + clue->size, end))
            at += clue->size;
        else if (!(at = add_line_around(lines, text, at, end)))
            return 0;
    }
    return 1;
}

/* Add the lines that escape a character; 0 without memory. The search for one character is fast, and few lines have it. */
static int add_escaping_lines(Lines *lines, const char *text, const char *end)
{
    const char *at = text;
    while (at < end && (at = memchr(at, '\\', (size_t)(end - at))) != NULL) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        if (!line_end)
            line_end = end;
        if (memmem(at, (size_t)(line_end - at), "\\u", 2) && !add_line_around(lines, text, at, end))
            return 0;
        at = line_end;
    }
    return 1;
}

static int compare_lines(const void *first, const void *second)
{
    const char *first_begin = ((const Line *)first)->begin, *second_begin = ((const Line *)second)->begin;
    return (first_begin > second_begin) - (first_begin < second_begin);
}

/* Put the lines in their order, without duplicates. */
static void sort_lines(Lines *lines)
{
    if (lines->is_sorted)
        return;
    qsort(lines->items, lines->count, sizeof *lines->items, compare_lines);
    size_t count = 0;
    for (size_t number = 0; number < lines->count; number++)
        if (!count || lines->items[count - 1].begin != lines->items[number].begin)
            lines->items[count++] = lines->items[number];
    lines->count = count;
    lines->is_sorted = 1;
}

/* Add the lines with one more clue; 0 without memory. The memory is that of three times all lines, however many clues. */
static int find_more_lines(Lines *lines, const char *text, size_t size, const Clue *clue)
{
    if (!add_lines_with(lines, text, text + size, clue))
        return 0;
    if (lines->count > 2 * lines->unique + 64) {
        sort_lines(lines);
        lines->unique = lines->count;
    }
    return 1;
}

#endif
