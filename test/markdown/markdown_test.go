package markdown

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBlocks_AreReadWithWhatStandsAboveThem(t *testing.T) {
	blocks, err := parse("text\n\n<!-- file: a/b.sql -->\n```sql\nselect 1;\n\n<!-- no note -->\n```\n```sh\nls\n```\n\n<!-- run: again -->\n\n```\nplain\n```\n")
	require.NoError(t, err)
	assert.Equal(t, []Block{
		{Language: "sql", Note: "file: a/b.sql", Text: "select 1;\n\n<!-- no note -->\n", Line: 4},
		{Language: "sh", Text: "ls\n", Line: 9},
		{Text: "plain\n", Line: 15},
	}, blocks)
	assert.Equal(t, "a/b.sql", blocks[0].File())
	assert.Empty(t, blocks[1].File())
}

func TestBlocks_ThatAreNotClosedAreAnError(t *testing.T) {
	_, err := parse("```sh\nls\n")
	assert.ErrorContains(t, err, "1: the block is not closed")
}

func TestBlocks_ThatWouldBeOverlookedAreAnError(t *testing.T) {
	for _, text := range []string{"- a list\n  ```sh\n  ls\n  ```\n", "~~~sh\nls\n~~~\n"} {
		_, err := parse(text)
		assert.ErrorContains(t, err, "no test finds it")
	}
}
