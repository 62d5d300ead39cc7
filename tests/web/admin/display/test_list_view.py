"""The links of a list."""

from webapp.web.admin.display.list_view import ListView

VIEW = ListView("/admin/tenants", {"search": "org & co", "state": ""}, "-last_active_at")


def test_a_link_keeps_the_filters_that_are_set() -> None:
    assert VIEW.url() == "/admin/tenants?search=org+%26+co&sort=-last_active_at"
    assert VIEW.url(search=None, sort=None) == "/admin/tenants"


def test_a_heading_first_sorts_its_usual_way_and_then_the_other() -> None:
    assert VIEW.sort_url("error_count").endswith("sort=-error_count")
    assert VIEW.sort_url("last_active_at").endswith("sort=last_active_at")
    assert VIEW.sort_url("user_id", "").endswith("sort=user_id")
    by_id = ListView("/t", {}, "user_id")
    assert by_id.sort_url("user_id", "") == "/t?sort=-user_id"


def test_only_the_sorted_column_says_that_it_is() -> None:
    assert VIEW.sorted_by("last_active_at") == "descending"
    assert ListView("/t", {}, "user_id").sorted_by("user_id") == "ascending"
    assert VIEW.sorted_by("user_id") == "none"


def test_a_view_knows_whether_it_is_filtered() -> None:
    assert VIEW.filtered
    assert not ListView("/t", {"search": ""}, "user_id").filtered
