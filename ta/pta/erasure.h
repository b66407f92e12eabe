/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a commit leaves to remove, and tombstones name: files of blobs, and the
 * data of TAs.
 */

#ifndef __ERASURE_H
#define __ERASURE_H

#include <stdint.h>
#include <tee_api_types.h>

#include "store.h"

/* The caller holds store_mutex and has a state, for each of these */

/*
 * Does what the tombstones of the state that is stored call for, as far as
 * that is possible now. What it cannot do is tried by the next call.
 */
void erasure_finish(void);
/*
 * Whether an image can be put where a TA was: TEE_ERROR_BUSY as long as that
 * TA's data are there. Tries to remove them.
 */
TEE_Result erasure_check_busy(const struct blob_name *name);
/*
 * Makes an entry in memory a tombstone that calls for what it had: its file,
 * and TOMBSTONE_DATA if @what is that
 */
void erasure_bury(struct entry *e, uint8_t what);

#endif /* __ERASURE_H */
