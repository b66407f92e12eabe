// SPDX-License-Identifier: BSD-2-Clause
/*
 * Libraries that instances have mapped, and the end of those whose code was
 * replaced or removed.
 */

#include <kernel/mutex.h>
#include <kernel/tee_ta_manager.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "library.h"
#include "state.h"

/*
 * struct use - what an instance has mapped beside its own image
 * @link:	In @uses
 * @ta:		The TA
 * @library:	The library, which may be removed meanwhile
 */
struct use {
	TAILQ_ENTRY(use) link;
	TEE_UUID ta;
	TEE_UUID library;
};

/* Protected by store_mutex */
static TAILQ_HEAD(, use) uses = TAILQ_HEAD_INITIALIZER(uses);

static void remove_use(struct use *use)
{
	TAILQ_REMOVE(&uses, use, link);
	free(use);
}

TEE_Result library_add_use(const TEE_UUID *ta, const TEE_UUID *library)
{
	struct use *use = NULL;
	struct use *next = NULL;
	bool found = false;

	TAILQ_FOREACH_SAFE(use, &uses, link, next) {
		if (!memcmp(&use->ta, ta, sizeof(*ta)))
			found |= !memcmp(&use->library, library,
					 sizeof(*library));
		else if (!tee_ta_has_instance(&use->ta))
			remove_use(use);
	}
	if (found)
		return TEE_SUCCESS;

	use = malloc(sizeof(*use));
	if (!use)
		return TEE_ERROR_OUT_OF_MEMORY;
	use->ta = *ta;
	use->library = *library;
	TAILQ_INSERT_TAIL(&uses, use, link);

	return TEE_SUCCESS;
}

/* A TA that has mapped @library, once each */
static bool take_use(const TEE_UUID *library, TEE_UUID *ta)
{
	struct use *use = NULL;

	mutex_lock(&store_mutex);
	TAILQ_FOREACH(use, &uses, link) {
		if (!memcmp(&use->library, library, sizeof(*library))) {
			*ta = use->ta;
			remove_use(use);
			break;
		}
	}
	mutex_unlock(&store_mutex);

	return use;
}

void library_retire(const struct blob_name *name)
{
	TEE_UUID uuid = { };
	TEE_UUID ta = { };

	if (name->kind != PTA_OTRP_STORE_KIND_IMAGE)
		return;
	uuid_of(&uuid, name);
	if (is_reserved_uuid(&uuid))
		return;

	tee_ta_retire(&uuid);
	while (take_use(&uuid, &ta))
		tee_ta_retire(&ta);
}
