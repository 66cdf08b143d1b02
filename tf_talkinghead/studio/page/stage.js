// Shows the avatar's square alone on one colour, for a browser source.

const picture = document.getElementById("frame");
const colour = document.getElementById("colour");
const status = document.getElementById("status");
const person = decodeURIComponent(location.pathname.split("/").pop());
const asked = new URLSearchParams(location.search).get("colour") ?? "";

function paint(value) {
  document.documentElement.style.setProperty("--ground", value);
}

if (/^#?[0-9a-f]{6}$/i.test(asked)) colour.value = `#${asked.replace("#", "")}`;
paint(colour.value);
colour.addEventListener("input", () => {
  paint(colour.value);
  history.replaceState(null, "", `?colour=${colour.value.slice(1)}`);
});
document.title = `${person} · Stage`;
picture.alt = `The avatar of ${person}`;

let shown = null;

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const socket = new WebSocket(
    `${scheme}://${location.host}/api/stage/${encodeURIComponent(person)}`,
  );
  socket.onmessage = ({ data }) => {
    const old = shown;
    shown = URL.createObjectURL(data);
    picture.src = shown;
    picture.hidden = false;
    status.textContent = "";
    if (old) URL.revokeObjectURL(old);
  };
  socket.onclose = () => {
    if (picture.hidden) status.textContent = `There is no avatar called ${person}, or the studio has ended.`;
    setTimeout(connect, 2000);
  };
}

connect();
