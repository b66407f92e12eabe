/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which TAs have mapped which libraries, so that none keeps code that was
 * replaced or removed.
 */

#ifndef __LIBRARY_H
#define __LIBRARY_H

#include <tee_api_types.h>

#include "store.h"

/*
 * Takes note that @ta maps @library, and forgets TAs that have ended. The
 * caller holds store_mutex.
 */
TEE_Result library_add_use(const TEE_UUID *ta, const TEE_UUID *library);
/*
 * Retires the instances of an image, unless it is the core's own, and those
 * that have mapped it as a library; nothing for other blobs. The caller does
 * not hold store_mutex: TAs may run.
 */
void library_retire(const struct blob_name *name);

#endif /* __LIBRARY_H */
