// SPDX-License-Identifier: BSD-2-Clause
/*
 * The root of the store, as an object of the core's own storage.
 */

#include <kernel/nv_counter.h>
#include <string.h>
#include <string_ext.h>
#include <tee/tee_fs.h>
#include <tee/tee_pobj.h>
#include <tee_api_defines_extensions.h>
#include <trace.h>

#include "root.h"

static char root_object_id[] = "root";
/* The file system keeps pointers into it */
static struct tee_pobj root_object = {
	.uuid = PTA_OTRP_STORE_UUID,
	.obj_id = root_object_id,
	.obj_id_len = sizeof(root_object_id),
};

static const struct tee_file_operations *root_ops(void)
{
	return tee_svc_storage_file_ops(TEE_STORAGE_PRIVATE);
}

static bool is_damage(TEE_Result res)
{
	switch (res) {
	case TEE_ERROR_SECURITY:
	case TEE_ERROR_MAC_INVALID:
	case TEE_ERROR_CORRUPT_OBJECT:
	case TEE_ERROR_BAD_FORMAT:
	case TEE_ERROR_NO_DATA:
		return true;
	default:
		return false;
	}
}

static TEE_Result root_result(TEE_Result res)
{
	return is_damage(res) ? TEE_ERROR_CORRUPT_OBJECT : file_result(res);
}

/* The counter rises with the first directory that is whole */
static bool nothing_was_stored(void)
{
	uint32_t counter = 0;

	return !nv_counter_get_ree_fs(&counter) && !counter;
}

static TEE_Result open_root(struct tee_file_handle **fh)
{
	TEE_Result res = root_ops()->open(&root_object, NULL, fh);

	/*
	 * A power cut in the first write of all leaves a directory that is not
	 * whole. Nothing is lost with it, and the core has just removed it.
	 */
	if (is_damage(res) && nothing_was_stored())
		res = root_ops()->open(&root_object, NULL, fh);
	if (is_damage(res))
		EMSG("Secure storage is damaged or older than its counter: %#"
		     PRIx32, res);

	return res == TEE_ERROR_ITEM_NOT_FOUND ? res : root_result(res);
}

static bool is_valid_root(const struct root *r)
{
	static const uint8_t magic[] = ROOT_MAGIC;

	return !memcmp(r->magic, magic, sizeof(magic)) &&
	       r->format == ROOT_FORMAT && r->sequence && r->state_file <= 1 &&
	       r->entry_count <= ENTRY_COUNT_MAX && r->record_size &&
	       r->record_size <= PTA_OTRP_STORE_RECORD_MAX;
}

TEE_Result root_read(struct root *root)
{
	struct {
		struct root root;
		uint8_t excess;
	} __packed found = { };
	struct tee_file_handle *fh = NULL;
	TEE_Result res = TEE_SUCCESS;
	size_t size = sizeof(found);

	res = open_root(&fh);
	if (res)
		return res;

	res = root_result(root_ops()->read(fh, 0, &found, NULL, &size));
	root_ops()->close(&fh);
	if (!res && (size != sizeof(found.root) || !is_valid_root(&found.root)))
		res = TEE_ERROR_CORRUPT_OBJECT;
	if (!res)
		*root = found.root;
	memzero_explicit(&found, sizeof(found));

	return res;
}

TEE_Result root_write(const struct root *root, bool exists)
{
	struct tee_file_handle *fh = NULL;
	TEE_Result res = TEE_SUCCESS;

	if (!exists) {
		res = root_ops()->create(&root_object, false, NULL, 0, NULL, 0,
					 root, NULL, sizeof(*root), &fh);
	} else {
		res = root_ops()->open(&root_object, NULL, &fh);
		if (!res)
			res = root_ops()->write(fh, 0, root, NULL,
						sizeof(*root));
	}
	root_ops()->close(&fh);

	return file_result(res);
}
