"""Contexts in Zope know its database, and keep objects in context."""

import pytest
import shelves
import shop
import transaction
import Zope2
from Acquisition import aq_base, aq_chain, aq_parent
from OFS.Folder import Folder
from Testing.makerequest import makerequest
from ZODB.broken import find_global
from ZODB.DB import DB
from ZODB.MappingStorage import MappingStorage
from ZPublisher.BaseRequest import RequestContainer

from pyramid_zodb_async.zope2 import PersistentContext
from pyramid_zodb_async.zope2.acquisition import in_context


def test_the_root_database_is_that_of_zope(app):
    assert shop.in_thread(
        lambda: PersistentContext().get_root_connection().db() is Zope2.DB
    )


def test_another_thread_finds_objects_in_their_context(shelf, site):
    context = PersistentContext(shelf, hall=site.hall)

    def look():
        found = context[0]
        assert found._p_jar is context.get_root_connection()
        assert found._p_jar is not shelf._p_jar
        return shelves.tell_path(found), context["hall"].colour

    expected = ("/site/hall/shelf", "green"), "green"
    assert shop.in_thread(look) == expected


def test_the_request_is_left_behind(shelf, app):
    with_request = makerequest(app).site.hall.shelf
    assert type(aq_chain(with_request)[-1]) is RequestContainer
    context = PersistentContext(with_request)

    chain = shop.in_thread(lambda: shelves.tell_chain(context[0]))
    assert chain == ["shelf", "hall", "site", "Zope"]


def test_an_object_without_a_context_has_none(shelf):
    context = PersistentContext(aq_base(shelf))

    assert shop.in_thread(lambda: aq_parent(context[0])) is None


def test_a_told_root_connection_is_used(site, app):
    context = PersistentContext(site, app)
    context.set_root_connection(app._p_jar)

    assert aq_base(context[0]) is aq_base(site)
    assert context[1] is app


def test_new_objects_and_containers_are_stored(site):
    site._setObject("new", Folder("new"))
    site.new._setObject("shelf", shelves.Shelf("shelf"))
    context = PersistentContext(site.new.shelf)
    transaction.commit()

    path = ("/site/new/shelf", "green")
    assert shop.in_thread(lambda: shelves.tell_path(context[0])) == path


def test_a_new_container_of_an_old_object_is_stored(site, shelf):
    site._setObject("new", Folder("new"))
    context = PersistentContext(aq_base(shelf).__of__(site.new))
    transaction.commit()

    path = ("/site/new/shelf", "green")
    assert shop.in_thread(lambda: shelves.tell_path(context[0])) == path


def test_what_is_in_no_database_is_refused(site):
    with pytest.raises(ValueError, match="cannot be reached"):
        PersistentContext(shelves.Shelf("lost").__of__(site))
    with pytest.raises(AttributeError):
        PersistentContext(1)


def test_a_database_may_come_first(wsgi_app):
    db = DB(MappingStorage())
    with db.transaction() as connection:
        note = connection.root()["note"] = shelves.Note()
        connection.add(note)
        context = PersistentContext(db, note)

    def look():
        return context.get_root_connection().db() is db, context[0].text

    assert shop.in_thread(look) == (True, "")
    db.close()


def test_zope_must_have_opened_its_database(shelf, monkeypatch):
    monkeypatch.setattr(Zope2, "DB", None)
    with pytest.raises(LookupError, match="start Zope before"):
        PersistentContext(shelf)


def test_what_has_lost_its_class_has_no_context(site):
    gone = find_global("gone", "Gone")()

    assert in_context(gone, site) is gone
    assert in_context(site, gone) is gone
