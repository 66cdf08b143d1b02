"""The studio's web interface: the page, its messages and its WebSockets.

    app = make_app(studio)    # Starlette; studio: studio.Studio

A request that changes something is a POST, PUT or DELETE, with JSON or a raw file as its body. An
error is answered by {"error": one sentence} with status 400, 403, 404 or 405.
"""

import contextlib
import functools
import pathlib

import anyio
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from tf_talkinghead.errors import InputError, TalkingHeadError
from tf_talkinghead.studio import controls, drafts, films, uploads
from tf_talkinghead.studio.security import Guard
from tf_talkinghead.studio.session import Session
from tf_talkinghead.studio.studio import Studio
from tf_talkinghead.studio.words import plain

PAGE = pathlib.Path(__file__).parent / "page"
_MAX_TABS = 8  # WebSockets that move avatars at once
_MAX_VIEWERS = 16  # of one stage


def make_app(studio: Studio) -> Starlette:
    """The ASGI application of a started studio, guarded by its `access`."""

    def route(path, work, method="GET"):
        return Route(path, functools.partial(_answered, work, studio), methods=[method])

    def page(name):
        text = (PAGE / name).read_text(encoding="utf-8")
        return lambda request: HTMLResponse(text, headers={"Cache-Control": "no-cache"})

    routes = [
        Route("/", page("index.html")),
        Route("/stage/{person}", page("stage.html")),
        route("/api/studio", _about),
        route("/api/people", _people),
        route("/api/people/{person}", _person),
        route("/api/people/{person}/neutral.jpg", _neutral),
        route("/api/people/{person}", _delete_person, "DELETE"),
        route("/api/people", _make_person, "POST"),
        route("/api/drafts", _begin_draft, "POST"),
        route("/api/drafts/{draft}", _end_draft, "DELETE"),
        route("/api/drafts/{draft}/files", _add_file, "PUT"),
        route("/api/drafts/{draft}/files/{file}", _remove_file, "DELETE"),
        route("/api/people/{person}/films", _drive, "PUT"),
        route("/api/films", _films),
        route("/films/{person}/{film}.mp4", _film),
        route("/api/films/{person}/{film}", _delete_film, "DELETE"),
        route("/api/jobs", _jobs),
        route("/api/jobs/{job}", _job),
        route("/api/jobs/{job}", _cancel, "DELETE"),
        route("/api/check", _check, "PUT"),
        WebSocketRoute("/api/live/{person}", functools.partial(_live, studio)),
        WebSocketRoute("/api/stage/{person}", functools.partial(_stage, studio)),
        Mount("/page", StaticFiles(directory=PAGE)),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _not_here})
    app.add_middleware(Guard, access=studio.access)
    return app


async def _answered(work, studio, request: Request):
    """`work(studio, request)` as JSON; an error as one line."""
    try:
        answer = await work(studio, request)
    except TalkingHeadError as error:
        return JSONResponse({"error": plain(error)}, 400)
    return answer if isinstance(answer, Response) else JSONResponse(answer)


async def _not_here(request, error):
    return JSONResponse({"error": f"{request.url.path[:80]}: {error.detail}"}, error.status_code)


async def _json(request: Request) -> dict:
    """The body as a JSON object; InputError if it is longer than MAX_TEXT_BYTES."""
    body = b""
    async with contextlib.aclosing(request.stream()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > uploads.MAX_TEXT_BYTES:
                raise InputError(f"the message is longer than {uploads.MAX_TEXT_BYTES} bytes")
    return uploads.object_of(body)


async def _about(studio, request):
    return {
        **controls.describe(),
        "consent": studio.consent_text,
        "limits": uploads.limits(),
        "makes": studio.makes,
    }


async def _people(studio, request):
    return await run_in_threadpool(
        lambda: [studio.gallery.summary(name) for name in studio.gallery.names()]
    )


async def _person(studio, request):
    return await run_in_threadpool(studio.gallery.card, request.path_params["person"])


async def _neutral(studio, request):
    jpeg = await run_in_threadpool(studio.gallery.neutral, request.path_params["person"])
    return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "no-cache"})


async def _delete_person(studio, request):
    removed = await run_in_threadpool(studio.delete, request.path_params["person"])
    return {"removed": removed}


async def _make_person(studio, request):
    given = await _json(request)
    job = await run_in_threadpool(
        studio.make,
        str(given.get("draft")),
        str(given.get("name")),
        given.get("agreed") is True,
        str(given.get("by") or "")[:80] or None,
    )
    return {"job": job.id}


async def _begin_draft(studio, request):
    draft = await run_in_threadpool(studio.begin_draft)
    return {"draft": draft.id}


async def _end_draft(studio, request):
    await run_in_threadpool(studio.drafts.end, request.path_params["draft"])
    return {}


async def _add_file(studio, request):
    name = uploads.shown_name(request.query_params.get("name", ""))
    draft = studio.drafts.get(request.path_params["draft"])
    try:
        stem = studio.next_name()
        path = await uploads.receive(request, draft.folder, stem, name, uploads.MAX_CLIP_BYTES)
    except TalkingHeadError as error:
        why = plain(error).removeprefix(f"{name}: ")
        return {"id": stem, "name": name, "good": False, "why": why, "crops": []}
    return await run_in_threadpool(studio.add_file, draft, stem, path, name)


async def _remove_file(studio, request):
    draft = studio.drafts.get(request.path_params["draft"])
    await run_in_threadpool(drafts.remove, draft, request.path_params["file"])
    return {}


async def _drive(studio, request):
    person = studio.gallery.checked(request.path_params["person"])
    name = uploads.shown_name(request.query_params.get("name", ""))
    wanted = films.wanted_of(uploads.object_of(request.query_params.get("wanted") or "{}"))
    path = await uploads.receive(request, studio.uploads, studio.next_name(), name)
    job = await run_in_threadpool(studio.drive, person, path, name, wanted)
    return {"job": job.id}


async def _films(studio, request):
    return await run_in_threadpool(studio.films)


async def _film(studio, request):
    person, film = request.path_params["person"], request.path_params["film"]
    path = await run_in_threadpool(films.path_of, studio.gallery.models, person, film)
    # FileResponse answers range requests too, so that the browser's player can seek.
    kept = request.query_params.get("save") is not None
    shown = f"{person}-{film[:6]}.mp4"
    return FileResponse(
        path,
        media_type="video/mp4",
        filename=shown,
        content_disposition_type="attachment" if kept else "inline",
    )


async def _delete_film(studio, request):
    person, film = request.path_params["person"], request.path_params["film"]
    await run_in_threadpool(films.delete, studio.gallery.models, person, film)
    return {}


async def _jobs(studio, request):
    return [job.to_dict() for job in studio.jobs.all()]


async def _job(studio, request):
    return studio.jobs.get(request.path_params["job"]).to_dict()


async def _cancel(studio, request):
    studio.jobs.get(request.path_params["job"]).cancel()
    return {}


async def _check(studio, request):
    name = uploads.shown_name(request.query_params.get("name", ""))
    path = await uploads.receive(request, studio.uploads, studio.next_name(), name)
    return await run_in_threadpool(studio.check, path, name)


async def _live(studio, socket: WebSocket):
    await socket.accept()
    if len(studio.sessions) >= _MAX_TABS:
        await socket.send_json(
            {"type": "refused", "why": f"{_MAX_TABS} tabs are live already: close one"}
        )
        await socket.close(1013)
        return
    person = socket.path_params["person"]
    try:
        await run_in_threadpool(studio.gallery.checked, person)
    except TalkingHeadError as error:
        await socket.send_json({"type": "refused", "why": plain(error)})
        await socket.close(1008)
        return
    session = Session(person, studio.gallery, studio.stage(person), studio.jobs, studio.recordings)
    studio.sessions.add(session)
    try:
        await session.run(socket)
    finally:
        studio.sessions.discard(session)


async def _stage(studio, socket: WebSocket):
    await socket.accept()
    person = socket.path_params["person"]
    try:
        neutral = await run_in_threadpool(studio.gallery.neutral, person)
    except TalkingHeadError:
        await socket.close(1008)
        return
    stage = studio.stage(person)
    if stage.viewers >= _MAX_VIEWERS:
        await socket.close(1013)
        return
    stage.viewers += 1
    try:
        await socket.send_bytes(neutral)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_until_closed, socket, tasks.cancel_scope)
            number = stage.number
            while True:
                number, jpeg = await stage.next(number)
                await socket.send_bytes(jpeg)
    except* (TalkingHeadError, WebSocketDisconnect, RuntimeError):
        with contextlib.suppress(RuntimeError):
            await socket.close()
    finally:
        stage.viewers -= 1


async def _until_closed(socket, scope):
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
    scope.cancel()
