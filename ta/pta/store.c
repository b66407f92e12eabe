// SPDX-License-Identifier: BSD-2-Clause
/*
 * What the OTrP broker keeps: a root object, two state files and blobs.
 *
 * The root is an object of the core's own storage and has the protection
 * against older states that this has. It holds the key and the tags of a state
 * file, which lies in the normal world and holds the entries, one for each
 * blob, and the client's record. An entry holds key and tag of a blob's file.
 * So the root determines every octet, and replacing it is the commit
 * (commit.c).
 *
 * Nothing else changes what is stored, so root and entries are kept in memory
 * (state.c). After a failed commit they are dropped, because they have the
 * change: what is stored is read again.
 */

#include <kernel/mutex.h>
#include <string.h>
#include <string_ext.h>
#include <tee/uuid.h>
#include <tee_api_defines_extensions.h>

#include "blob.h"
#include "erasure.h"
#include "library.h"
#include "state.h"

TEE_Result store_load(struct store_session *session, void *user, size_t *size)
{
	TEE_Result res = TEE_SUCCESS;
	size_t capacity = *size;
	struct root from = { };

	session->knows = false;
	store_drop_all(session);

	mutex_lock(&store_mutex);
	res = state_load();
	if (!res) {
		erasure_finish();
		from = store_state.root;
	}
	mutex_unlock(&store_mutex);
	if (res)
		return res;

	/* What the commands of a pseudo TA read is changed by none meanwhile */
	session->sequence = from.sequence;
	*size = from.record_size;
	if (!from.sequence)
		res = TEE_ERROR_ITEM_NOT_FOUND;
	else if (capacity < from.record_size)
		res = TEE_ERROR_SHORT_BUFFER;
	else
		res = state_read_record(&from, user);
	session->knows = !res || !from.sequence;
	memzero_explicit(&from, sizeof(from));

	return res;
}

static TEE_Result open_entry(const struct blob_name *name,
			     struct entry *entry, int *fd)
{
	struct node *node = state_find(name);

	if (!node)
		return TEE_ERROR_ITEM_NOT_FOUND;
	*entry = node->entry;

	return blob_file_open(entry->file, fd);
}

TEE_Result store_open(const struct blob_name *name, struct entry *entry,
		      int *fd)
{
	TEE_Result res = TEE_SUCCESS;

	mutex_lock(&store_mutex);
	res = state_load();
	if (!res)
		res = open_entry(name, entry, fd);
	mutex_unlock(&store_mutex);

	return res;
}

/* Code is for the TA that it is, and for its owner's TAs as a library */
static bool may_load(const struct blob_name *image, const struct blob_name *by)
{
	struct node *library = state_find(image);
	struct node *ta = state_find(by);

	return library && ta && !memcmp(library->entry.owner, ta->entry.owner,
					sizeof(ta->entry.owner));
}

TEE_Result store_open_image(const TEE_UUID *uuid, const TEE_UUID *for_ta,
			    struct entry *entry, int *fd)
{
	struct blob_name image = { PTA_OTRP_STORE_KIND_IMAGE };
	struct blob_name ta = { PTA_OTRP_STORE_KIND_IMAGE };
	TEE_Result res = TEE_SUCCESS;

	tee_uuid_to_octets(image.id, uuid);
	tee_uuid_to_octets(ta.id, for_ta);

	mutex_lock(&store_mutex);
	res = state_load();
	if (!res) {
		if (may_load(&image, &ta))
			res = open_entry(&image, entry, fd);
		else
			res = TEE_ERROR_ITEM_NOT_FOUND;
	}
	if (!res && !names_equal(&image, &ta)) {
		res = library_add_use(for_ta, uuid);
		if (res) {
			file_close(*fd);
			*fd = -1;
		}
	}
	mutex_unlock(&store_mutex);

	return res;
}
