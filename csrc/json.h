/* json.h - JSON (RFC 8259) read in place: checked once as a whole, then walked without allocating. */
#ifndef NNP_JSON_H
#define NNP_JSON_H

#include <stddef.h>

enum { JSON_MAX_DEPTH = 32, JSON_MAX_NUMBER = 64 }; /* nesting; characters of a number */

/* One value: the characters [p, end) of the checked text, without blanks around it. p[0] tells the kind. */
typedef struct json {
    const char* p;
    const char* end;
} json;

/* Checks all of the text; 1 and *root if it is one JSON value, else 0 and *at, where it stops being JSON. */
int json_check(const char* text, size_t size, json* root, size_t* at);

static inline int json_is(json v, char first) { return v.p < v.end && *v.p == first; } /* '{' '[' '"' */

/* Walk the members of an object or the elements of an array (key.p is NULL), of checked text only:
 *   json_walk w = json_begin(list);  while (json_next(&w, &key, &value)) ...      */
typedef struct json_walk {
    const char* p;
    const char* end;
    int object;
} json_walk;

json_walk json_begin(json container);
int json_next(json_walk* walk, json* key, json* value);

/* Number of elements or members; -1 if v is not of the kind '[' or '{'. */
int json_count(json v, char kind);

/* How often the object has the key (2 stands for more); *value is the last one's. */
int json_find(json object, const char* key, json* value);

/* 1 and the value if v is a number that is finite as a double. Does not depend on the locale. */
int json_number(json v, double* out);

/* Length of the string v decoded to UTF-8 in out, which ends with '\0'; -1 if v is not a string, needs
 * capacity bytes or more, or holds '\0' or half a surrogate pair. Never longer than v's own text. */
long json_string(json v, char* out, size_t capacity);

#endif /* NNP_JSON_H */
