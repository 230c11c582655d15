/* modelfile.c - reads a .nnp file (docs/model-file.md). Input is hostile until proven otherwise: every size
 * is checked against the bytes at hand before anything is allocated for it, and nothing outside them is read.
 */
#include "modelfile.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_HEADER = 1 << 24, /* bytes of JSON */
    TENSORS_PER_SPECIES = 3 + 2 * NNP_MAX_LAYERS
};
#define MAX_FILE ((int64_t)1 << 32)

/* ---- tensors ---- */

typedef struct tensor {
    char name[32];
    int n_dim, is_exponent, seen, item; /* item: bytes of a number, 8 or 4 */
    int64_t shape[2], theta;            /* theta: offset there */
    int64_t begin, end;                 /* bytes of the data section */
} tensor;

typedef struct file {
    const unsigned char* bytes;
    int64_t n_header, n_data;
    nnp_model* model;
    tensor* tensors;
    int n_tensors;
} file;

static tensor* expect(file* f, int64_t theta, int n_dim, int64_t rows, int64_t columns)
{
    tensor* t = &f->tensors[f->n_tensors++];
    memset(t, 0, sizeof *t);
    t->theta = theta;
    t->n_dim = n_dim;
    t->shape[0] = rows;
    t->shape[1] = columns;
    return t;
}

static void expect_msr(file* f, int s)
{
    const char* symbol = f->model->species[s];
    const nnp_msr* msr = &f->model->msr[s];
    int64_t n2 = msr->triplet - msr->alpha, n3 = (msr->mu - msr->triplet) / 3;
    tensor* t = expect(f, msr->alpha, 1, n2, 1);
    snprintf(t->name, sizeof t->name, "msr.%s.alpha", symbol);
    t->is_exponent = 1;
    t = expect(f, msr->triplet, 2, n3, 3);
    snprintf(t->name, sizeof t->name, "msr.%s.triplet", symbol);
    t->is_exponent = 1;
    t = expect(f, msr->mu, 1, n2 + n3, 1);
    snprintf(t->name, sizeof t->name, "msr.%s.mu", symbol);
}

/* The tensors the metadata calls for, in theta's order. */
static void expect_species(file* f, int s)
{
    const char* symbol = f->model->species[s];
    const nnp_net* net = &f->model->net[s];
    tensor* t;
    if (f->model->msr) expect_msr(f, s);
    for (int l = 0; l < net->n_layers; l++) {
        t = expect(f, net->weight[l], 2, net->width[l], net->width[l + 1]);
        snprintf(t->name, sizeof t->name, "net.%s.%d.weight", symbol, l);
        t = expect(f, net->bias[l], 1, net->width[l + 1], 1);
        snprintf(t->name, sizeof t->name, "net.%s.%d.bias", symbol, l);
    }
}

static tensor* find_tensor(file* f, json key)
{
    char name[32];
    if (json_string(key, name, sizeof name) < 0) return NULL;
    for (int k = 0; k < f->n_tensors; k++)
        if (strcmp(f->tensors[k].name, name) == 0) return &f->tensors[k];
    return NULL;
}

/* n non-negative integers below 2^53 in a JSON list. */
static int get_sizes(json entry, const char* key, int n, int64_t* out)
{
    json list, none, value;
    double number;
    if (json_find(entry, key, &list) != 1 || json_count(list, '[') != n) return 0;
    json_walk walk = json_begin(list);
    while (json_next(&walk, &none, &value)) {
        if (!json_number(value, &number) || !(number >= 0 && number < 9e15) || number != floor(number))
            return 0;
        *out++ = (int64_t)number;
    }
    return 1;
}

static int read_entry(const file* f, json entry, tensor* t)
{
    json value;
    char dtype[8] = "";
    int64_t shape[2] = {0, 1}, offsets[2], count = t->shape[0] * t->shape[1];
    if (t->seen) return BAD("tensor '%s' appears twice", t->name);
    t->seen = 1;
    if (json_find(entry, "dtype", &value) != 1 || json_string(value, dtype, sizeof dtype) < 0)
        dtype[0] = '\0';
    t->item = strcmp(dtype, "F64") == 0 ? 8 : strcmp(dtype, "F32") == 0 ? 4 : 0;
    if (!t->item) return BAD("tensor '%s': dtype is neither F64 nor F32", t->name);
    if (!get_sizes(entry, "shape", t->n_dim, shape) || shape[0] != t->shape[0] || shape[1] != t->shape[1])
        return BAD(t->n_dim == 1 ? "tensor '%s': shape is not [%lld]"
                                 : "tensor '%s': shape is not [%lld, %lld]",
                   t->name, (long long)t->shape[0], (long long)t->shape[1]);
    if (!get_sizes(entry, "data_offsets", 2, offsets) || offsets[0] > offsets[1] || offsets[1] > f->n_data)
        return BAD("tensor '%s': data_offsets are not inside the file", t->name);
    if (offsets[1] - offsets[0] != count * t->item)
        return BAD("tensor '%s': data_offsets do not span %lld numbers", t->name, (long long)count);
    t->begin = offsets[0];
    t->end = offsets[1];
    return NNP_OK;
}

static int by_place(const void* a, const void* b)
{
    const tensor *s = a, *t = b;
    if (s->begin != t->begin) return s->begin < t->begin ? -1 : 1;
    return (s->end > t->end) - (s->end < t->end);
}

static int refuse_tensor(char* name)
{
    for (char* p = name; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7F) *p = '?'; /* error texts are one line */
    return BAD("tensor '%s' does not belong to the model the metadata describes", name);
}

/* Every tensor once, and together they fill the data section without overlap or gap. */
static int read_header(file* f, json header)
{
    json key, entry;
    char name[32];
    json_walk walk = json_begin(header);
    while (json_next(&walk, &key, &entry)) {
        if (json_string(key, name, sizeof name) < 0) snprintf(name, sizeof name, "(long or odd name)");
        if (strcmp(name, "__metadata__") == 0) continue;
        tensor* t = find_tensor(f, key);
        if (!t) return refuse_tensor(name);
        TRY(read_entry(f, entry, t));
    }
    for (int k = 0; k < f->n_tensors; k++)
        if (!f->tensors[k].seen) return BAD("tensor '%s' is missing", f->tensors[k].name);
    if (f->n_tensors) qsort(f->tensors, (size_t)f->n_tensors, sizeof *f->tensors, by_place);
    int64_t place = 0;
    for (int k = 0; k < f->n_tensors; place = f->tensors[k++].end)
        if (f->tensors[k].begin != place)
            return BAD("tensor '%s': data overlap another's or leave a gap", f->tensors[k].name);
    return place == f->n_data
               ? NNP_OK
               : BAD("data section: %lld bytes belong to no tensor", (long long)(f->n_data - place));
}

static double get_real(const unsigned char* bytes, int item)
{
    uint64_t bits = 0;
    for (int k = item - 1; k >= 0; k--) bits = bits << 8 | bytes[k];
    if (item == 8) {
        double value;
        memcpy(&value, &bits, sizeof value);
        return value;
    }
    uint32_t half = (uint32_t)bits;
    float value;
    memcpy(&value, &half, sizeof value);
    return value;
}

static int read_numbers(const file* f, const tensor* t)
{
    const unsigned char* data = f->bytes + 8 + f->n_header + t->begin;
    double* out = f->model->theta + t->theta;
    int64_t count = t->shape[0] * t->shape[1];
    double bound = t->is_exponent ? NNP_MAX_EXPONENT : HUGE_VAL;
    for (int64_t k = 0; k < count; k++) {
        out[k] = get_real(data + k * t->item, t->item);
        if (!isfinite(out[k])) return BAD("tensor '%s': number %lld is not finite", t->name, (long long)k);
        if (fabs(out[k]) > bound)
            return BAD("tensor '%s': exponent %lld is beyond +-%g", t->name, (long long)k, bound);
    }
    return NNP_OK;
}

static int read_tensors(file* f, json header)
{
    nnp_model* m = f->model;
    f->tensors = nnp_alloc((size_t)m->n_species * TENSORS_PER_SPECIES, sizeof *f->tensors);
    if (!f->tensors) return nnp_fail(NNP_ERR_MEMORY, "out of memory: list of tensors");
    for (int s = 0; m->net && s < m->n_species; s++) expect_species(f, s);
    TRY(read_header(f, header));
    m->theta = nnp_alloc((size_t)m->n_parameters, sizeof *m->theta); /* <= n_data / 4, as checked above */
    if (!m->theta)
        return nnp_fail(NNP_ERR_MEMORY, "out of memory: %lld parameters", (long long)m->n_parameters);
    for (int k = 0; k < f->n_tensors; k++) TRY(read_numbers(f, &f->tensors[k]));
    return NNP_OK;
}

/* ---- container ---- */

/* CRC-32 (zlib's, reflected 0xEDB88320), four bits at a time. */
static uint32_t crc32(uint32_t crc, const unsigned char* bytes, size_t n)
{
    uint32_t table[16];
    for (uint32_t k = 0; k < 16; k++) {
        table[k] = k;
        for (int bit = 0; bit < 4; bit++) table[k] = table[k] >> 1 ^ (table[k] & 1 ? 0xEDB88320u : 0);
    }
    crc = ~crc;
    for (size_t k = 0; k < n; k++) {
        crc ^= bytes[k];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

/* __metadata__.crc32: 8 lower-case hex digits, the CRC-32 of the whole file with these 8 taken as "00000000".
 */
static int check_crc(const unsigned char* bytes, size_t size, json digits)
{
    char text[16];
    if (!json_is(digits, '"') || digits.end - digits.p != 10)
        return BAD("header: __metadata__ 'crc32' is not 8 hexadecimal digits");
    size_t place = (size_t)((const unsigned char*)digits.p + 1 - bytes);
    uint32_t crc = crc32(0, bytes, place);
    crc = crc32(crc, (const unsigned char*)"00000000", 8);
    crc = crc32(crc, bytes + place + 8, size - place - 8);
    snprintf(text, sizeof text, "%08lx", (unsigned long)crc);
    if (memcmp(text, bytes + place, 8) != 0)
        return BAD("checksum: the file is damaged or was edited (its CRC-32 is %s)", text);
    return NNP_OK;
}

static int read_document(json text, char* buffer, size_t capacity, nnp_model** out)
{
    json meta;
    size_t at;
    long length = json_string(text, buffer, capacity);
    if (length < 0) return BAD("header: __metadata__ 'nnpcore' is not a string");
    if (!json_check(buffer, (size_t)length, &meta, &at)) return BAD("metadata: not JSON at byte %zu", at);
    return nnp_read_metadata(meta, out);
}

static int read_file(file* f, json header, size_t size)
{
    json container, document, digits;
    if (json_find(header, "__metadata__", &container) != 1) return BAD("header: no __metadata__");
    if (json_find(container, "nnpcore", &document) != 1) return BAD("header: no __metadata__ 'nnpcore'");
    if (json_find(container, "crc32", &digits) != 1) return BAD("header: no __metadata__ 'crc32'");
    TRY(check_crc(f->bytes, size, digits));
    size_t capacity = (size_t)(document.end - document.p) + 1;
    char* buffer = nnp_alloc(capacity, 1);
    if (!buffer) return nnp_fail(NNP_ERR_MEMORY, "out of memory: %zu bytes of metadata", capacity);
    int status = read_document(document, buffer, capacity, &f->model);
    nnp_free(buffer);
    return status ? status : read_tensors(f, header);
}

int nnp_model_parse(const void* data, size_t size, nnp_model** out)
{
    file f = {data, 0, 0, NULL, NULL, 0};
    json header;
    size_t at;
    if (!data || !out) return nnp_fail(NNP_ERR_ARGUMENT, "nnp_model_parse: data or out is NULL");
    if (size < 10 || f.bytes[8] != '{') return BAD("not a model file (.nnp): no safetensors header");
    for (int k = 7; k >= 0; k--)
        f.n_header = f.n_header > MAX_HEADER ? f.n_header : f.n_header << 8 | f.bytes[k];
    if (f.n_header > MAX_HEADER) return BAD("header: longer than %d bytes", MAX_HEADER);
    if ((uint64_t)f.n_header > size - 8) return BAD("header: the file ends inside it (truncated?)");
    f.n_data = (int64_t)(size - 8 - (size_t)f.n_header);
    if (!json_check((const char*)f.bytes + 8, (size_t)f.n_header, &header, &at))
        return BAD("header: not JSON at byte %zu", at);
    int status = read_file(&f, header, size);
    nnp_free(f.tensors);
    if (status)
        nnp_model_free(f.model);
    else
        *out = f.model;
    return status;
}

static int read_stream(FILE* stream, nnp_model** out)
{
    unsigned char head[9];
    if (fseek(stream, 0, SEEK_END) != 0) return nnp_fail(NNP_ERR_FILE, "not a regular file");
    int64_t size = ftell(stream);
    if (size < 0 || fseek(stream, 0, SEEK_SET) != 0) return nnp_fail(NNP_ERR_FILE, "not a regular file");
    /* look before reading gigabytes of something else */
    if (size > MAX_FILE || fread(head, 1, sizeof head, stream) != sizeof head || head[8] != '{')
        return BAD("not a model file (.nnp): no safetensors header");
    rewind(stream);
    void* bytes = nnp_alloc((size_t)size, 1);
    if (!bytes) return nnp_fail(NNP_ERR_MEMORY, "out of memory: file of %lld bytes", (long long)size);
    int status = fread(bytes, 1, (size_t)size, stream) == (size_t)size
                     ? nnp_model_parse(bytes, (size_t)size, out)
                     : nnp_fail(NNP_ERR_FILE, "cannot be read to its end");
    nnp_free(bytes);
    return status;
}

int nnp_model_load(const char* path, nnp_model** out)
{
    char text[512];
    if (!path || !out) return nnp_fail(NNP_ERR_ARGUMENT, "nnp_model_load: path or out is NULL");
    FILE* stream = fopen(path, "rb");
    if (!stream) return nnp_fail(NNP_ERR_FILE, "%s: cannot be opened", path);
    int status = read_stream(stream, out);
    fclose(stream);
    if (!status) return NNP_OK;
    snprintf(text, sizeof text, "%s", nnp_last_error());
    return nnp_fail(status, "%s: %s", path, text);
}
