/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef MM_MOBJ_H
#define MM_MOBJ_H

#include <kernel/thread.h>

static inline void *mobj_get_va(struct mobj *mobj, size_t offs, size_t len)
{
	return offs + len <= mobj->size ? (char *)mobj->data + offs : NULL;
}

#endif
