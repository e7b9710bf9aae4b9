"use strict";

/* A part of the page that keeps itself up to date: <div data-live="address" data-live-ms="2000">.
   It rests while nobody looks, so that an open tab neither loads the service nor keeps a session
   alive for ever. */
const REST_AFTER_MS = 10 * 60 * 1000;

function keepUpToDate(part) {
    const note = document.querySelector("[data-live-note]");
    const everyMs = Number(part.dataset.liveMs);
    let touchedAt = Date.now();
    let timer = null;
    let isFinal = false;

    function tell(text) {
        note.textContent = text;
        note.hidden = !text;
        part.classList.toggle("is-old", Boolean(text));
    }

    function later() {
        timer = setTimeout(refresh, everyMs);
    }

    async function refresh() {
        timer = null;
        if (document.hidden) {
            return;
        }
        if (Date.now() - touchedAt > REST_AFTER_MS) {
            tell("Resting: move the mouse to go on.");
            return;
        }
        try {
            // A login page instead of an answer is the end of the session, not news.
            const answer = await fetch(part.dataset.live, {redirect: "error"});
            if (!answer.ok) {
                throw new Error(String(answer.status));
            }
            const news = await answer.json();
            show(news.html);
            tell("");
            if (news.is_final) {
                isFinal = true;
                return;
            }
        } catch (failure) {
            tell("Not up to date: the service did not answer.");
        }
        later();
    }

    function show(html) {
        if (part.innerHTML === html) {
            return;
        }
        const open = [...part.querySelectorAll("details")].map((one) => one.open);
        const focused = stops().indexOf(document.activeElement);
        part.innerHTML = html;
        part.querySelectorAll("details").forEach((one, place) => {
            one.open = open[place] ?? one.open;
        });
        stops()[focused]?.focus({preventScroll: true});
    }

    function stops() {
        return [...part.querySelectorAll("a, summary")];
    }

    function wake() {
        touchedAt = Date.now();
        if (timer === null && !isFinal && !document.hidden) {
            refresh();
        }
    }

    for (const sign of ["pointermove", "keydown", "visibilitychange"]) {
        document.addEventListener(sign, () => {
            const rested = timer === null && Date.now() - touchedAt > REST_AFTER_MS;
            if (sign === "visibilitychange" || rested) {
                wake();
            } else {
                touchedAt = Date.now();
            }
        }, {passive: true});
    }
    later();
}

/* A slider beside each share, which stays a number where no script runs. */
function addSlider(number) {
    const box = document.createElement("div");
    const slider = document.createElement("input");
    const told = document.createElement("output");
    box.className = "rollout-share";
    slider.type = "range";
    slider.min = 0;
    slider.max = number.max;
    slider.step = 50;
    slider.setAttribute("aria-label", "share");

    function tell() {
        told.textContent = `${(Number(number.value) / 100).toFixed(2)} %`;
    }

    slider.addEventListener("input", () => {
        number.value = slider.value;
        tell();
    });
    number.addEventListener("input", () => {
        slider.value = number.value;
        tell();
    });
    slider.value = number.value;
    tell();
    number.after(box);
    box.append(number, slider, told);
}

document.querySelectorAll("[data-live]").forEach(keepUpToDate);
document.querySelectorAll("input[data-share]").forEach(addSlider);
