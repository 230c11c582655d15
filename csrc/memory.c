/* memory.c - aligned allocation with overflow checks. */
#include "nnp_internal.h"
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

void* nnp_alloc(size_t count, size_t element)
{
    if (element && count > (SIZE_MAX - ALIGNMENT) / element) return NULL;
    size_t bytes = (count * element + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (bytes == 0) bytes = ALIGNMENT;
    return aligned_alloc(ALIGNMENT, bytes);
}

void nnp_free(void* p) { free(p); }

int nnp_reserve(void* p, size_t* capacity, size_t count, size_t element)
{
    void** slot = (void**)p;
    if (*slot && count <= *capacity) return NNP_OK;
    size_t wanted = *capacity + *capacity / 4;
    if (wanted < count) wanted = count;
    void* fresh = nnp_alloc(wanted, element);
    if (!fresh) return nnp_fail(NNP_ERR_MEMORY, "out of memory: %zu elements of %zu bytes", wanted, element);
    nnp_free(*slot);
    *slot = fresh;
    *capacity = wanted;
    return NNP_OK;
}
