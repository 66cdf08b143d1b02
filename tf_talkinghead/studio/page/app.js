// Puts the page's parts together, and says what happens when an avatar is chosen.

import { $, enc, get } from "./api.js";
import { openCheck } from "./check.js";
import { drawControls } from "./controls.js";
import { Films } from "./films.js";
import { Live } from "./live.js";
import { NewPerson } from "./newperson.js";
import { People } from "./people.js";

const about = await get("/api/studio").catch((error) => {
  $("status").textContent = error.message;
  throw error;
});

const live = new Live({
  canvas: $("frame"),
  preview: $("preview"),
  camera: $("camera"),
  calibrate: $("calibrate"),
  record: $("record"),
  sound: $("sound"),
  status: $("status"),
  figures: $("figures"),
  recorded: (job) => films.watch(job),
});
const controls = drawControls(about, (expression, strengths) => live.pose(expression, strengths));
const films = new Films(() => ({ person: people.chosen, ...controls.values() }));
const people = new People(choose);
const newPerson = new NewPerson(about, async (name) => {
  await people.refresh();
  people.choose(name);
});

function choose(person) {
  const nobody = person === null;
  $("who").textContent = nobody ? "Nobody yet" : person;
  document.title = nobody ? "Studio" : `${person} · Studio`;
  for (const id of ["who-tools", "drive"]) $(id).hidden = nobody;
  $("empty").hidden = !nobody;
  $("frame").hidden = nobody;
  $("frame").setAttribute("aria-label", nobody ? "No avatar" : `The avatar of ${person}`);
  if (!nobody) $("open-stage").href = `/stage/${enc(person)}`;
  controls.enable(!nobody);
  controls.reset(false);
  live.connect(person, ({ gaze }) => controls.showGaze(gaze));
  films.refresh();
}

$("new-person").addEventListener("click", () => newPerson.open());
$("open-check").addEventListener("click", openCheck);
for (const button of document.querySelectorAll("dialog .close")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
await people.refresh();
people.choose(people.names[0] ?? null);
films.resume();
window.studio = { live, people, films, controls }; // for tests and measurements
