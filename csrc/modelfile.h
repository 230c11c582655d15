/* modelfile.h - what modelfile.c (container, tensors) and modelmeta.c (metadata) share. */
#ifndef NNP_MODELFILE_H
#define NNP_MODELFILE_H

#include "json.h"
#include "model.h"

#define TRY(call)                                                                                            \
    do {                                                                                                     \
        int status_ = (call);                                                                                \
        if (status_) return status_;                                                                         \
    } while (0)
#define BAD(...) nnp_fail(NNP_ERR_FORMAT, __VA_ARGS__)

/* Model with everything but theta; *out may be set (to be freed) on failure too. */
int nnp_read_metadata(json meta, nnp_model** out);

/* Typed access to metadata (modelmeta.c): NNP_OK, or an error that names the key. */
enum { NNP_META_MAX_COUNT = 1 << 16 }; /* fingerprints of a channel, width of a layer, baselines */
int nnp_meta_get(json object, const char* key, json* value);
int nnp_meta_list(json object, const char* key, int count, json* list);
int nnp_meta_number(json object, const char* key, double* out);
int nnp_meta_numbers(json object, const char* key, int n, double* out);
int nnp_meta_count(json value, const char* key, int low, int* out);
int nnp_meta_word(json object, const char* key, const char* const* words, int n, int* out);
int nnp_meta_species_index(const nnp_model* m, json value); /* -1: none */

/* bpmeta.c: symmetry functions, their scaling and ranges */
int nnp_read_bp(json meta, nnp_model* m);

#endif /* NNP_MODELFILE_H */
