// The dialog "Check a file": looks for marks of synthetic media in any picture or film.

import { $, dropZone, enc, put } from "./api.js";

let wired = false;

export function openCheck() {
  if (!wired) {
    wired = true;
    dropZone($("check-drop"), $("check-file"), ([file]) => check(file));
  }
  $("check-status").textContent = "";
  $("check-dialog").showModal();
}

async function check(file) {
  $("check-status").textContent = `Looking at ${file.name} …`;
  try {
    const found = await put(`/api/check?name=${enc(file.name)}`, file);
    $("check-status").textContent = `${found.sentence}.`;
  } catch (error) {
    $("check-status").textContent = error.message;
  }
}
