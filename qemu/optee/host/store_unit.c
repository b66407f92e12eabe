// SPDX-License-Identifier: BSD-2-Clause
/*
 * What the OTrP store has in memory, with a way to lose it, and what a test
 * asks of it.
 */
#include <state.c>
#include <blob.c>
#include <library.c>

#include "world.h"

void store_restart(void)
{
	store_mutex = (struct mutex)MUTEX_INITIALIZER;
	store_state = (struct store_state){ };
	TAILQ_INIT(&store_state.entries);
	TAILQ_INIT(&blobs);
	TAILQ_INIT(&uses);
}

size_t store_cache_size(void)
{
	struct node *node = NULL;
	struct blob *blob = NULL;
	struct use *use = NULL;
	size_t size = 0;

	TAILQ_FOREACH(node, &store_state.entries, link)
		size += sizeof(*node);
	TAILQ_FOREACH(use, &uses, link)
		size += sizeof(*use);
	/* Those of a failed commit, until it is known whether it was done */
	TAILQ_FOREACH(blob, &blobs, link)
		if (!blob->session)
			size += sizeof(*blob);

	return size;
}

bool store_has_tombstones(void)
{
	struct node *node = NULL;

	TAILQ_FOREACH(node, &store_state.entries, link)
		if (entry_is_tombstone(&node->entry))
			return true;

	return false;
}

bool store_leads_to(uint32_t file)
{
	return state_find_file(file);
}

bool store_may_overwrite(uint32_t file)
{
	return file >= store_state.root.next_file;
}
