"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // colour theme: automatic, light, dark
  const themes = ["auto", "light", "dark"];
  const theme = document.getElementById("theme");
  let current = 0;
  theme.addEventListener("click", () => {
    current = (current + 1) % themes.length;
    const name = themes[current];
    if (name === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    theme.setAttribute("aria-label", `Colour theme: ${name === "auto" ? "automatic" : name}`);
  });

  // film strips: one number moves every layer
  const slide = (root, index, text) => {
    const input = root.querySelector("[data-slide]");
    const last = Number(input.max);
    input.value = index;
    root.style.setProperty("--p", `${last ? (100 * index) / last : 0}%`);
    root.querySelector("[data-out]").textContent = text;
    input.setAttribute("aria-valuetext", text);
  };

  all("[data-stack]").forEach((root) => {
    const zs = root.dataset.z.split(",").map(Number);
    const [, y0, x0] = root.dataset.start.split(",").map(Number);
    const [, ny, nx] = root.dataset.shape.split(",").map(Number);
    const input = root.querySelector("[data-slide]");
    const toggle = root.querySelector("[data-toggle]");
    const opacity = root.querySelector("[data-opacity]");
    const show = (index) => slide(root, index, `z = ${zs[index]}`);
    input.addEventListener("input", () => show(Number(input.value)));

    const paint = () => {
      const on = toggle.getAttribute("aria-pressed") === "true";
      root.style.setProperty("--o", on ? opacity.value / 100 : 0);
      toggle.textContent = on ? "Overlay on" : "Overlay off";
    };
    if (toggle) {
      const flip = () => {
        toggle.setAttribute("aria-pressed", String(toggle.getAttribute("aria-pressed") !== "true"));
        paint();
      };
      toggle.addEventListener("click", flip);
      opacity.addEventListener("input", () => { toggle.setAttribute("aria-pressed", "true"); paint(); });
      root.addEventListener("keydown", (event) => {
        if (event.key === "o" && !event.ctrlKey && !event.metaKey && !event.altKey) flip();
      });
    }

    all("[data-solo]", root).forEach((button) => button.addEventListener("click", () => {
      const pane = button.closest(".pane");
      const alone = !pane.classList.contains("alone");
      all(".pane", root).forEach((other) => other.classList.remove("alone"));
      pane.classList.toggle("alone", alone);
      root.classList.toggle("solo", alone);
      all("[data-solo]", root).forEach((other) => other.setAttribute("aria-pressed", String(alone && other === button)));
    }));

    // hairlines at the same place in every pane
    const films = all(".film", root);
    const hairs = films.map((film) => ["v", "h"].map((kind) => {
      const hair = document.createElement("span");
      hair.className = "hair";
      hair.style.cssText = kind === "v" ? "top:0;bottom:0;width:1px" : "left:0;right:0;height:1px";
      hair.hidden = true;
      film.append(hair);
      return hair;
    }));
    const point = (u, v) => {
      hairs.forEach(([vertical, horizontal]) => {
        vertical.hidden = horizontal.hidden = u === null;
        if (u !== null) { vertical.style.left = `${u * 100}%`; horizontal.style.top = `${v * 100}%`; }
      });
      root.querySelector("[data-readout]").textContent = u === null ? ""
        : `${zs[Number(input.value)]}, ${y0 + Math.min(ny - 1, Math.floor(v * ny))}, ${x0 + Math.min(nx - 1, Math.floor(u * nx))}`;
    };
    films.forEach((film) => {
      film.addEventListener("pointermove", (event) => {
        const box = film.getBoundingClientRect();
        point((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
      });
      film.addEventListener("pointerleave", () => point(null));
    });
    root.goto = (z, y, x) => {
      const gaps = zs.map((value) => Math.abs(value - z));
      show(gaps.indexOf(Math.min(...gaps)));
      point((x - x0 + 0.5) / nx, (y - y0 + 0.5) / ny);
    };
  });

  all("[data-goto]").forEach((button) => button.addEventListener("click", () => {
    const section = document.getElementById(button.dataset.of);
    const root = section.querySelector("[data-stack]");
    root.goto(...button.dataset.goto.split(",").map(Number));
    section.scrollIntoView();
    root.querySelector("[data-slide]").focus({ preventScroll: true });
  }));

  // turntable: slider, or drag
  all("[data-turn]").forEach((root) => {
    const input = root.querySelector("[data-slide]");
    if (!input) return;
    const count = Number(input.max) + 1;
    const show = (index) => slide(root, ((index % count) + count) % count, `${Math.round((360 * (((index % count) + count) % count)) / count)}°`);
    input.addEventListener("input", () => show(Number(input.value)));
    all(".film", root).forEach((film) => {
      let from = null;
      film.addEventListener("pointerdown", (event) => {
        from = [event.clientX, Number(input.value)];
        film.setPointerCapture(event.pointerId);
      });
      film.addEventListener("pointermove", (event) => {
        if (from) show(from[1] + Math.round(((event.clientX - from[0]) / film.clientWidth) * count));
      });
      ["pointerup", "pointercancel"].forEach((name) => film.addEventListener(name, () => { from = null; }));
    });
  });

  // enlarged pictures
  const dialog = document.getElementById("zoom");
  all("[data-zoom]").forEach((button) => button.addEventListener("click", () => {
    const big = dialog.querySelector(".big");
    big.replaceChildren(...[...button.childNodes].map((node) => node.cloneNode(true)));
    const image = big.querySelector("img");
    const aspect = Number(image.style.aspectRatio.split("/")[0]) || 1;
    big.style.width = `min(100%, calc(84vh * ${aspect}))`;
    dialog.querySelector("p").textContent = image.alt;
    dialog.showModal();
  }));
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target.closest(".close")) dialog.close();
  });

  all("[data-copy]").forEach((button) => button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent.trim());
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    } catch {
      // a page opened from disk may not write to the clipboard: select the text instead
      getSelection().selectAllChildren(source);
    }
  }));
})();
