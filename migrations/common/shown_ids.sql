select min(id) as lowest, max(id) as highest, (select min(last_successful_id) from fedsender.source_queue_state) as lowest_cursor
from fedsender.source_activity
