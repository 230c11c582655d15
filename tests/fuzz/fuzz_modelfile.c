/* fuzz_modelfile.c - nnp_model_parse() on mutants of good files, and with every allocation failing in turn.
 *
 * With gcc (test_fuzz_modelfile.py does it): ./fuzz COUNT SEED.nnp...
 *   gcc -std=gnu11 -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -Icsrc
 *       tests/fuzz/fuzz_modelfile.c csrc/model*.c csrc/json.c csrc/error.c -o fuzz
 *
 * With clang's libFuzzer: the same with -fsanitize=fuzzer,address,undefined -DLIBFUZZER; ./fuzz CORPUS
 *
 * Most mutants get their checksum put right, or none would come past it. Inputs stand in blocks of
 * exactly their size, so that the sanitizer sees any byte read behind them. */
#include "nnp_internal.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In place of memory.c: the fail_at-th allocation from now fails, and nothing larger than a mutant can
 * account for (32 bytes of model per byte, and the fixed tables) is asked for. */
static long fail_at = -1;
static size_t size_limit = SIZE_MAX;

void* nnp_alloc(size_t count, size_t element)
{
    if (fail_at >= 0 && fail_at-- == 0) return NULL;
    if (count > size_limit / element) {
        fprintf(stderr, "asked for %zu x %zu bytes, more than the input justifies\n", count, element);
        abort();
    }
    return malloc(count > 0 ? count * element : 1);
}

void nnp_free(void* p) { free(p); }

static void demand(int holds, const char* what)
{
    if (holds) return;
    fprintf(stderr, "violated: %s (last error: %s)\n", what, nnp_last_error());
    abort();
}

/* What a caller may rely on once a model was accepted. */
static void check_model(const nnp_model* m)
{
    demand(strcmp(nnp_model_units(m), "eV Angstrom") == 0, "units");
    demand(nnp_model_cutoff(m) == m->cutoff && nnp_model_n_species(m) == m->n_species, "accessors");
    demand(!nnp_model_species(m, -1) && !nnp_model_species(m, m->n_species), "species out of range");
    demand(m->n_species >= 1 && m->cutoff > 0 && isfinite(m->cutoff), "species and cutoff");
    int64_t next = 0;
    for (int s = 0; s < m->n_species; s++) {
        demand(m->atomic_number[s] >= 1 && m->atomic_number[s] <= 118, "atomic number");
        if (!m->net) continue;
        const nnp_net* net = &m->net[s];
        demand((m->msr ? m->msr[s].alpha : net->weight[0]) == next && net->width[0] == nnp_n_inputs(m, s),
               "layout");
        for (int k = 0; m->bp && k < m->bp[s].n_functions; k++) {
            const nnp_bp_spec* f = &m->bp[s].spec[k];
            demand(f->rc > 0 && f->rc <= m->cutoff, "cutoff of a function");
            demand(isfinite(m->bp[s].centre[k]) && isfinite(m->bp[s].factor[k]), "scaling");
            demand(f->partner[0] < m->n_species && f->partner[1] < m->n_species, "partners");
        }
        demand(net->n_layers >= 1 && net->width[net->n_layers] == 1, "layers");
        next = net->bias[net->n_layers - 1] + 1;
    }
    demand(next == m->n_parameters, "number of parameters");
    for (int64_t k = 0; k < m->n_parameters; k++) demand(isfinite(m->theta[k]), "finite parameters");
    for (int k = 0; k < m->n_baseline; k++) {
        const nnp_baseline* b = &m->baseline[k];
        demand(b->s < m->n_species && b->t < m->n_species && b->cutoff > 0, "baseline");
        demand(b->cutoff <= m->cutoff, "baseline cutoff");
    }
}

static int parse(const unsigned char* data, size_t size)
{
    nnp_model* m = NULL;
    size_limit = 65536 + 512 * size;
    int status = nnp_model_parse(data, size, &m);
    if (status) {
        demand(!m && (status == NNP_ERR_FORMAT || status == NNP_ERR_VERSION || status == NNP_ERR_MEMORY),
               "status");
        demand(!strchr(nnp_last_error(), '\n'), "one line");
    } else {
        check_model(m);
        nnp_model_free(m);
    }
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size)
{
    parse(data, size);
    return 0;
}

#ifndef LIBFUZZER

static uint64_t state = 88172645463325252u;

static uint64_t draw(uint64_t n) /* xorshift64 */
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return n ? state % n : 0;
}

typedef struct buffer {
    unsigned char* bytes;
    size_t size, capacity;
} buffer;

static void splice(buffer* b, size_t at, size_t gone, const void* with, size_t length)
{
    if (gone > b->size - at) gone = b->size - at;
    if (b->size - gone + length > b->capacity) return;
    memmove(b->bytes + at + length, b->bytes + at + gone, b->size - at - gone);
    memcpy(b->bytes + at, with, length);
    b->size += length - gone;
}

static void mutate(buffer* b)
{
    static const char* const tokens[] = {
        "null",    "-1", "1e999", "NaN", "[[[[",  "{",  "}",     "]",  "\"",   "\\u",        "\\ud800", "\\",
        "\"F32\"", ",",  "0.5",   ":",   "[0,0]", "{}", "65536", "[]", "true", "4294967296", "-0",      "7"};
    unsigned char copy[64];
    size_t at = (size_t)draw(b->size + 1), length = (size_t)draw(64), from = (size_t)draw(b->size + 1);
    const char* token = tokens[draw(sizeof tokens / sizeof *tokens)];
    if (length > b->size - from) length = b->size - from;
    switch (draw(6)) {
    case 0:
        if (at < b->size) b->bytes[at] = (unsigned char)draw(256);
        break;
    case 1:
        if (at < b->size) b->bytes[at] ^= (unsigned char)(1u << draw(8));
        break;
    case 2:
        splice(b, at, length, token, 0);
        break;
    case 3:
        splice(b, at, 0, token, strlen(token));
        break;
    case 4:
        splice(b, at, strlen(token), token, strlen(token));
        break;
    default:
        memcpy(copy, b->bytes + from, length);
        splice(b, at, 0, copy, length);
    }
}

static uint32_t crc32(const unsigned char* bytes, size_t n)
{
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t k = 0; k < n; k++) {
        crc ^= bytes[k];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return ~crc;
}

/* The header's length and the checksum put right, as far as the mutant still has them. */
static void seal(buffer* b)
{
    size_t end = b->size;
    while (end > 8 && b->bytes[end - 1] != '}') end--;
    if (end > 8 && draw(4)) /* sometimes the wrong one of the '}' */
        for (int k = 0; k < 8; k++) b->bytes[k] = (unsigned char)((uint64_t)(end - 8) >> (8 * k));
    for (size_t k = 8; k + 17 < b->size; k++) {
        if (memcmp(b->bytes + k, "\"crc32\":\"", 9) != 0) continue;
        char digits[9];
        memcpy(b->bytes + k + 9, "00000000", 8);
        snprintf(digits, sizeof digits, "%08x", (unsigned)crc32(b->bytes, b->size));
        memcpy(b->bytes + k + 9, digits, 8);
        return;
    }
}

static buffer read_seed(const char* path)
{
    buffer b = {NULL, 0, 0};
    FILE* stream = fopen(path, "rb");
    if (!stream) {
        fprintf(stderr, "%s: cannot be opened\n", path);
        exit(2);
    }
    b.bytes = malloc(1 << 20);
    b.size = fread(b.bytes, 1, 1 << 20, stream);
    fclose(stream);
    return b;
}

static long fuzz(const buffer* seeds, int n_seeds, long count)
{
    long accepted = 0;
    for (long k = 0; k < count; k++) {
        const buffer* seed = &seeds[k % n_seeds];
        buffer b = {malloc(seed->size + 256), seed->size, seed->size + 256};
        memcpy(b.bytes, seed->bytes, seed->size);
        for (uint64_t n = 1 + draw(4); n > 0; n--) mutate(&b);
        if (b.size >= 8 && draw(8)) seal(&b);
        unsigned char* exact = malloc(b.size ? b.size : 1);
        memcpy(exact, b.bytes, b.size);
        accepted += parse(exact, b.size) == NNP_OK;
        free(exact);
        free(b.bytes);
    }
    return accepted;
}

static int load(const char* path)
{
    nnp_model* m = NULL;
    int status = nnp_model_load(path, &m);
    demand(!m == !!status, "a model or an error");
    nnp_model_free(m);
    return status;
}

/* Let the first, second, ... allocation fail: a memory error each time, until all succeed. */
static void starve(const char* path, const buffer* seed)
{
    for (long k = 0, failed = 2; failed; k++) {
        fail_at = k;
        int status = parse(seed->bytes, seed->size);
        failed = fail_at < 0;
        demand(status == (failed ? NNP_ERR_MEMORY : NNP_OK), "memory error and nothing else");
        fail_at = k;
        status = load(path);
        demand(status == (fail_at < 0 ? NNP_ERR_MEMORY : NNP_OK), "memory error from load");
        failed |= fail_at < 0;
        fail_at = -1;
    }
}

int main(int argc, char** argv)
{
    int n = argc - 2;
    if (n < 1) {
        fprintf(stderr, "usage: %s COUNT SEED.nnp...\n", argv[0]);
        return 2;
    }
    demand(load("/no/such/folder/a.nnp") == NNP_ERR_FILE && load("/") != NNP_OK, "missing file, folder");
    buffer* seeds = malloc((size_t)n * sizeof *seeds);
    for (int k = 0; k < n; k++) {
        seeds[k] = read_seed(argv[k + 2]);
        starve(argv[k + 2], &seeds[k]);
        demand(load(argv[k + 2]) == NNP_OK, "a good seed");
    }
    printf("accepted %ld of %s\n", fuzz(seeds, n, atol(argv[1])), argv[1]);
    for (int k = 0; k < n; k++) free(seeds[k].bytes);
    free(seeds);
    return 0;
}

#endif
