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

#endif /* NNP_MODELFILE_H */
