// SPDX-License-Identifier: BSD-2-Clause
/*
 * Tombstones: what is still to be removed of blobs that were replaced or
 * removed.
 */

#include <kernel/tee_ta_manager.h>
#include <stdlib_ext.h>
#include <string.h>
#include <tee/tee_fs.h>
#include <tee/tee_pobj.h>
#include <tee_api_defines_extensions.h>
#include <util.h>

#include "blob.h"
#include "erasure.h"
#include "state.h"

static TEE_Result remove_objects(const struct tee_file_operations *ops,
				 const TEE_UUID *uuid)
{
	struct tee_fs_dirent *dirent = NULL;
	struct tee_fs_dir *dir = NULL;
	TEE_Result res = TEE_SUCCESS;

	res = ops->opendir(uuid, &dir);
	if (res == TEE_ERROR_ITEM_NOT_FOUND)
		return TEE_SUCCESS;
	if (res)
		return res;

	while (!(res = ops->readdir(dir, &dirent))) {
		struct tee_pobj object = {
			.uuid = *uuid,
			.obj_id = dirent->oid,
			.obj_id_len = dirent->oidlen,
		};

		if (ops->remove(&object)) {
			res = TEE_ERROR_STORAGE_NOT_AVAILABLE;
			break;
		}
	}
	ops->closedir(dir);

	return res == TEE_ERROR_ITEM_NOT_FOUND ? TEE_SUCCESS : res;
}

/* An instance could still store something, and its objects are in use */
static TEE_Result remove_data(const TEE_UUID *uuid)
{
	static const uint32_t storages[] = {
		TEE_STORAGE_PRIVATE_REE,
		TEE_STORAGE_PRIVATE_RPMB,
	};
	const struct tee_file_operations *ops = NULL;
	TEE_Result res = TEE_SUCCESS;
	size_t n = 0;

	if (tee_ta_has_instance(uuid))
		return TEE_ERROR_BUSY;

	for (n = 0; !res && n < ARRAY_SIZE(storages); n++) {
		ops = tee_svc_storage_file_ops(storages[n]);
		if (ops)
			res = remove_objects(ops, uuid);
	}

	return res;
}

/*
 * A tombstone that needs nothing any more stays in storage until the next
 * commit. Found again after a restart it does no harm: the commit that installs
 * its UUID is without it.
 */
void erasure_finish(void)
{
	struct node *node = NULL;
	struct node *next = NULL;
	TEE_UUID uuid = { };

	TAILQ_FOREACH_SAFE(node, &store_state.entries, link, next) {
		struct entry *e = &node->entry;

		if (!entry_is_tombstone(e))
			continue;
		if (e->name.kind & TOMBSTONE_FILE) {
			TEE_Result res = blob_file_remove(e->file);

			if (!res || res == TEE_ERROR_ITEM_NOT_FOUND)
				e->name.kind &= ~TOMBSTONE_FILE;
		}
		if (e->name.kind & TOMBSTONE_DATA) {
			uuid_of(&uuid, &e->name);
			/* It may have become the UUID of another TA */
			if (is_reserved_uuid(&uuid) || !remove_data(&uuid))
				e->name.kind &= ~TOMBSTONE_DATA;
		}
		if (e->name.kind == TOMBSTONE) {
			TAILQ_REMOVE(&store_state.entries, node, link);
			store_state.entry_count--;
			free_wipe(node);
		}
	}
}

static bool has_data_left(const struct blob_name *image)
{
	struct node *node = NULL;

	TAILQ_FOREACH(node, &store_state.entries, link) {
		struct entry *e = &node->entry;

		if (entry_is_tombstone(e) && e->name.kind & TOMBSTONE_DATA &&
		    !memcmp(e->name.id, image->id, sizeof(image->id)))
			return true;
	}

	return false;
}

TEE_Result erasure_check_busy(const struct blob_name *name)
{
	if (name->kind != PTA_OTRP_STORE_KIND_IMAGE || !has_data_left(name))
		return TEE_SUCCESS;

	erasure_finish();

	return has_data_left(name) ? TEE_ERROR_BUSY : TEE_SUCCESS;
}

void erasure_bury(struct entry *e, uint8_t what)
{
	struct entry tombstone = {
		.name.kind = TOMBSTONE | TOMBSTONE_FILE | what,
		.file = e->file,
	};

	if (what)
		memcpy(tombstone.name.id, e->name.id, sizeof(e->name.id));
	*e = tombstone;
}
