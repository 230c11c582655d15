/* json.c - JSON read in place. Every skip_ function takes p < end or p == end, reads [p, end) only and
 * returns the place after what it skipped, or NULL with *bad set to where the text stops being JSON. */
#include "json.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char* skip_value(const char* p, const char* end, int depth, const char** bad);

static const char* fail_at(const char* p, const char** bad)
{
    *bad = p;
    return NULL;
}

static const char* skip_blanks(const char* p, const char* end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')) p++;
    return p;
}

static const char* skip_digits(const char* p, const char* end)
{
    while (p < end && *p >= '0' && *p <= '9') p++;
    return p;
}

static const char* skip_number(const char* p, const char* end, const char** bad)
{
    const char* start = p;
    if (p < end && *p == '-') p++;
    const char* digits = p;
    p = skip_digits(p, end);
    if (p == digits || (*digits == '0' && p - digits > 1)) return fail_at(digits, bad);
    if (p < end && *p == '.') {
        const char* fraction = p + 1;
        p = skip_digits(fraction, end);
        if (p == fraction) return fail_at(p, bad);
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < end && (*p == '+' || *p == '-')) p++;
        const char* exponent = p;
        p = skip_digits(p, end);
        if (p == exponent) return fail_at(p, bad);
    }
    return p - start <= JSON_MAX_NUMBER ? p : fail_at(start, bad);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* The value of the four hexadecimal digits at p, -1 if there are none. */
static int hex4(const char* p, const char* end)
{
    int value = 0;
    if (end - p < 4) return -1;
    for (int k = 0; k < 4; k++) {
        int digit = hex_digit(p[k]);
        if (digit < 0) return -1;
        value = 16 * value + digit;
    }
    return value;
}

static const char* skip_string(const char* p, const char* end, const char** bad)
{
    for (p++; p < end && *p != '"'; p++) {
        if ((unsigned char)*p < 0x20) return fail_at(p, bad);
        if (*p != '\\') continue;
        if (++p == end) return fail_at(p, bad);
        if (*p == 'u') {
            if (hex4(p + 1, end) < 0) return fail_at(p, bad);
            p += 4;
        } else if (*p == '\0' || !strchr("\"\\/bfnrt", *p)) {
            return fail_at(p, bad);
        }
    }
    return p < end ? p + 1 : fail_at(p, bad);
}

static const char* skip_word(const char* p, const char* end, const char* word, const char** bad)
{
    size_t length = strlen(word);
    if ((size_t)(end - p) < length || memcmp(p, word, length) != 0) return fail_at(p, bad);
    return p + length;
}

/* "key" : of an object's member. */
static const char* skip_key(const char* p, const char* end, const char** bad)
{
    if (p == end || *p != '"') return fail_at(p, bad);
    p = skip_string(p, end, bad);
    if (!p) return NULL;
    p = skip_blanks(p, end);
    return p < end && *p == ':' ? skip_blanks(p + 1, end) : fail_at(p, bad);
}

static const char* skip_container(const char* p, const char* end, int depth, const char** bad)
{
    char close = *p == '{' ? '}' : ']';
    if (depth >= JSON_MAX_DEPTH) return fail_at(p, bad);
    p = skip_blanks(p + 1, end);
    if (p < end && *p == close) return p + 1;
    for (;;) {
        if (close == '}') p = skip_key(p, end, bad);
        if (p) p = skip_value(p, end, depth + 1, bad);
        if (!p) return NULL;
        p = skip_blanks(p, end);
        if (p < end && *p == close) return p + 1;
        if (p == end || *p != ',') return fail_at(p, bad);
        p = skip_blanks(p + 1, end);
    }
}

static const char* skip_value(const char* p, const char* end, int depth, const char** bad)
{
    if (p == end) return fail_at(p, bad);
    switch (*p) {
    case '{':
    case '[':
        return skip_container(p, end, depth, bad);
    case '"':
        return skip_string(p, end, bad);
    case 't':
        return skip_word(p, end, "true", bad);
    case 'f':
        return skip_word(p, end, "false", bad);
    case 'n':
        return skip_word(p, end, "null", bad);
    default:
        return skip_number(p, end, bad);
    }
}

int json_check(const char* text, size_t size, json* root, size_t* at)
{
    const char* end = text + size;
    const char* bad = text;
    root->p = skip_blanks(text, end);
    root->end = skip_value(root->p, end, 0, &bad);
    if (root->end && skip_blanks(root->end, end) != end) bad = skip_blanks(root->end, end);
    *at = (size_t)(bad - text);
    return root->end && bad == text;
}

json_walk json_begin(json container)
{
    json_walk walk = {container.p, container.end, json_is(container, '{')};
    return walk;
}

int json_next(json_walk* walk, json* key, json* value)
{
    const char* bad;
    const char* p = skip_blanks(walk->p + 1, walk->end); /* after the opening bracket or a comma */
    key->p = key->end = NULL;
    if (p >= walk->end || *p == ']' || *p == '}') return 0;
    if (walk->object) {
        key->p = p;
        key->end = skip_string(p, walk->end, &bad);
        p = skip_key(p, walk->end, &bad);
    }
    value->p = p;
    value->end = skip_value(p, walk->end, 0, &bad);
    walk->p = skip_blanks(value->end, walk->end);
    return 1;
}

int json_count(json v, char kind)
{
    json key, value;
    int n = 0;
    if (!json_is(v, kind)) return -1;
    json_walk walk = json_begin(v);
    while (json_next(&walk, &key, &value)) n++;
    return n;
}

int json_find(json object, const char* name, json* value)
{
    json key, candidate;
    char text[64];
    int found = 0;
    if (!json_is(object, '{')) return 0;
    json_walk walk = json_begin(object);
    while (json_next(&walk, &key, &candidate)) {
        if (json_string(key, text, sizeof text) < 0 || strcmp(text, name) != 0) continue;
        *value = candidate;
        if (found < 2) found++;
    }
    return found;
}

int json_number(json v, double* out)
{
    char text[JSON_MAX_NUMBER + 8], point[8];
    size_t length = (size_t)(v.end - v.p), n = 0;
    if (v.p >= v.end || !(*v.p == '-' || (*v.p >= '0' && *v.p <= '9')) || length > JSON_MAX_NUMBER) return 0;
    /* strtod wants the decimal point of the locale, which a host may have set: ask printf for it */
    if (snprintf(point, sizeof point, "%.1f", 0.5) >= (int)sizeof point) return 0;
    point[strlen(point) - 1] = '\0';
    for (size_t k = 0; k < length; k++) {
        if (v.p[k] != '.') {
            text[n++] = v.p[k];
        } else {
            memcpy(text + n, point + 1, strlen(point + 1));
            n += strlen(point + 1);
        }
    }
    text[n] = '\0';
    char* stop;
    *out = strtod(text, &stop);
    return *stop == '\0' && isfinite(*out);
}

static size_t put_utf8(unsigned code, char* out)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t k = n - 1; k > 0; k--, code >>= 6) out[k] = (char)(0x80 | (code & 0x3F));
    out[0] = (char)((0xF00 >> n & 0xFF) | code); /* 110xxxxx, 1110xxxx, 11110xxx */
    return n;
}

/* The character of the escape at *p (behind the backslash), *p moved behind it; -1 for half a pair. */
static int escaped(const char** p, const char* end)
{
    static const char names[] = "\"\\/bfnrt", codes[] = "\"\\/\b\f\n\r\t";
    char name = *(*p)++;
    if (name != 'u') return codes[strchr(names, name) - names];
    int high = hex4(*p, end);
    *p += 4;
    if (high < 0xD800 || high > 0xDFFF) return high;
    if (high > 0xDBFF || end - *p < 6 || (*p)[0] != '\\' || (*p)[1] != 'u') return -1;
    int low = hex4(*p + 2, end);
    *p += 6;
    return low >= 0xDC00 && low <= 0xDFFF ? 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00) : -1;
}

long json_string(json v, char* out, size_t capacity)
{
    size_t n = 0;
    if (!json_is(v, '"')) return -1;
    const char* end = v.end - 1;
    for (const char* p = v.p + 1; p < end;) {
        char utf8[4];
        size_t length = 1;
        if (*p != '\\') {
            utf8[0] = *p++;
        } else {
            p++;
            int code = escaped(&p, end);
            if (code <= 0) return -1;
            length = put_utf8((unsigned)code, utf8);
        }
        if (n + length >= capacity) return -1;
        memcpy(out + n, utf8, length);
        n += length;
    }
    if (n >= capacity) return -1;
    out[n] = '\0';
    return (long)n;
}
