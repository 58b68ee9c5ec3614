"use strict";
(() => {
  const find = (name) => document.querySelector(`.${name}`);
  const data = JSON.parse(find("map-data").textContent);
  const box = find("map-box"), canvas = find("map-canvas"), tip = find("map-tip"), sheet = find("map-sheet");
  const pen = canvas.getContext("2d");
  const picture = tip.querySelector("canvas").getContext("2d"), words = tip.querySelector("div");
  const STEPS = 65535, MARGIN = 14, REACH = 9;
  let colouring = data.colourings[0], hidden = new Set(), zoom = 1, left = 0, top = 0, drag = null, told = -1;

  const size = () => ({ width: canvas.clientWidth, height: canvas.clientHeight });
  const place = (i) => {
    const { width, height } = size();
    const side = Math.min((width - 2 * MARGIN) / data.aspect, height - 2 * MARGIN);
    const x = width / 2 + (data.x[i] / STEPS - 0.5) * side * data.aspect;
    const y = height / 2 + (0.5 - data.y[i] / STEPS) * side;
    return [(x - left) * zoom, (y - top) * zoom];
  };

  const name = (text, x, y, turn) => {
    pen.save();
    pen.translate(x, y);
    pen.rotate(turn);
    pen.font = "13px sans-serif";
    pen.textAlign = "center";
    pen.lineWidth = 4;
    pen.strokeStyle = "#fff";
    pen.strokeText(text, 0, 0);
    pen.fillStyle = "#444";
    pen.fillText(text, 0, 0);
    pen.restore();
  };

  const draw = () => {
    const { width, height } = size(), dots = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * dots);
    canvas.height = Math.round(height * dots);
    pen.setTransform(dots, 0, 0, dots, 0, 0);
    pen.clearRect(0, 0, width, height);
    const radius = Math.min(6, Math.max(1.6, 60 / Math.sqrt(data.x.length)) * Math.sqrt(zoom));
    pen.globalAlpha = 0.6;
    for (let i = 0; i < data.x.length; i += 1) {
      const key = colouring.of[i];
      if (hidden.has(key)) continue;
      const [x, y] = place(i);
      if (x < -9 || y < -9 || x > width + 9 || y > height + 9) continue;
      pen.fillStyle = colouring.keys[key].colour;
      pen.beginPath();
      pen.arc(x, y, radius, 0, 2 * Math.PI);
      pen.fill();
    }
    pen.globalAlpha = 1;
    name(data.axes[0], width / 2, height - 6, 0);
    name(data.axes[1], 14, height / 2, -Math.PI / 2);
    if (told >= 0 && !hidden.has(colouring.of[told])) {
      const [x, y] = place(told);
      pen.lineWidth = 2;
      pen.strokeStyle = "#000";
      pen.beginPath();
      pen.arc(x, y, radius + 3, 0, 2 * Math.PI);
      pen.stroke();
    }
  };

  const nearest = (px, py) => {
    let best = -1, least = REACH * REACH;
    for (let i = 0; i < data.x.length; i += 1) {
      if (hidden.has(colouring.of[i])) continue;
      const [x, y] = place(i), far = (x - px) ** 2 + (y - py) ** 2;
      if (far < least) { least = far; best = i; }
    }
    return best;
  };

  const line = (text, strong) => {
    const item = document.createElement(strong ? "strong" : "span");
    item.textContent = text;
    words.append(item, document.createElement("br"));
  };

  const tell = (i, px, py) => {
    if (i === told) return;
    told = i;
    tip.hidden = i < 0;
    draw();
    if (i < 0) return;
    const image = data.images[data.image[i]], at = data.picture[i], side = data.side;
    words.replaceChildren();
    line(image.labels, true);
    for (const one of data.colourings) {
      if (one.name !== "label") line(`${one.name} ${one.keys[one.of[i]].name}`, false);
    }
    line(image.file, false);
    line(`cell ${data.id[i]}`, false);
    picture.canvas.hidden = at < 0;
    if (at >= 0) {
      const x = (at % data.columns) * side, y = Math.floor(at / data.columns) * side;
      picture.clearRect(0, 0, 96, 96);
      picture.drawImage(sheet, x, y, side, side, 0, 0, 96, 96);
    }
    const { width } = size();
    tip.style.left = `${px > width / 2 ? px - tip.offsetWidth - 14 : px + 14}px`;
    tip.style.top = `${canvas.offsetTop + Math.max(0, py - 40)}px`;
  };

  const mouse = (event) => {
    const edge = canvas.getBoundingClientRect();
    return [event.clientX - edge.left, event.clientY - edge.top];
  };

  const closer = (factor, px, py) => {
    const next = Math.min(60, Math.max(1, zoom * factor));
    left += px / zoom - px / next;
    top += py / zoom - py / next;
    zoom = next;
    if (zoom === 1) { left = 0; top = 0; }
    draw();
  };

  const button = (parent, text, pressed, act, colour) => {
    const item = document.createElement("button");
    item.type = "button";
    item.setAttribute("aria-pressed", String(pressed));
    if (colour) {
      const dot = document.createElement("i");
      dot.style.background = colour;
      item.append(dot);
    }
    item.append(text);
    item.addEventListener("click", act);
    parent.append(item);
  };

  const bar = () => {
    const rows = [document.createElement("div"), document.createElement("div")];
    rows[0].append("Colour by ");
    for (const one of data.colourings) {
      button(rows[0], one.name, one === colouring, () => {
        colouring = one;
        hidden = new Set();
        told = -1;
        tip.hidden = true;
        bar();
        draw();
      });
    }
    colouring.keys.forEach((key, place) => {
      button(rows[1], key.name, !hidden.has(place), () => {
        if (!hidden.delete(place)) hidden.add(place);
        bar();
        draw();
      }, key.colour);
    });
    find("map-bar").replaceChildren(...rows);
  };

  canvas.addEventListener("mousemove", (event) => {
    const [px, py] = mouse(event);
    if (drag) {
      left = drag.left - (px - drag.x) / zoom;
      top = drag.top - (py - drag.y) / zoom;
      draw();
      return;
    }
    tell(nearest(px, py), px, py);
  });
  canvas.addEventListener("mousedown", (event) => {
    const [x, y] = mouse(event);
    drag = { x, y, left, top };
  });
  window.addEventListener("mouseup", () => { drag = null; });
  canvas.addEventListener("mouseleave", () => tell(-1, 0, 0));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    closer(event.deltaY < 0 ? 1.25 : 0.8, ...mouse(event));
  }, { passive: false });
  canvas.addEventListener("dblclick", () => closer(0, 0, 0));
  canvas.addEventListener("keydown", (event) => {
    const { width, height } = size();
    if (event.key === "+") closer(1.25, width / 2, height / 2);
    if (event.key === "-") closer(0.8, width / 2, height / 2);
    if (event.key === "0") closer(0, 0, 0);
  });
  window.addEventListener("resize", draw);
  box.hidden = false;
  find("map-off").hidden = true;
  bar();
  draw();
})();
